use image::{Image, Images, Step};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::format::Format;
use crate::{Failed, Outcome, human, table};

/// Characters of a command that are shown.
const COMMAND: usize = 45;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    image: String,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Sizes and times as people read them; false for bytes and dates
    #[arg(
        short = 'H',
        long,
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    human: bool,
    /// How to print: table, json, a Go template, or table and a template
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    format: String,
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let format = Format::parse(&self.format)?;
        let _held = images.hold()?;
        let image = images.resolve(&self.image)?;
        print!("{}", self.render(&image, &images.history(&image)?, &format, Timestamp::now())?);
        Ok(0)
    }

    fn render(
        &self,
        image: &Image,
        steps: &[Step],
        format: &Format,
        now: Timestamp,
    ) -> Result<String, Failed> {
        let rows: Vec<Value> =
            steps.iter().enumerate().map(|(i, step)| self.row(image, i, step, now)).collect();
        let cell = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        if self.quiet {
            return Ok(rows.iter().map(|row| cell(row, "ID") + "\n").collect());
        }
        let titles = json!({
            "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY",
            "Size": "SIZE", "Comment": "COMMENT",
        });
        if let Some(text) = format.render(&titles, &rows)? {
            return Ok(text);
        }
        let created = if self.human { "CreatedSince" } else { "CreatedAt" };
        let columns = ["ID", created, "CreatedBy", "Size", "Comment"];
        let headings: Vec<&str> =
            columns.iter().map(|key| titles[key].as_str().unwrap_or_default()).collect();
        let cells: Vec<Vec<String>> =
            rows.iter().map(|row| columns.iter().map(|key| cell(row, key)).collect()).collect();
        Ok(table::render(&headings, &cells))
    }

    /// Only the last step has an id: that of the image. Those of the others stayed where it was built.
    fn row(&self, image: &Image, index: usize, step: &Step, now: Timestamp) -> Value {
        let history = &step.history;
        let id = match index {
            0 if self.no_trunc => image.id.to_string(),
            0 => image.id.short(),
            _ => "<missing>".into(),
        };
        let text = |text: &Option<String>| {
            text.as_deref().unwrap_or_default().replace(|c: char| c.is_control(), " ")
        };
        let mut command = text(&history.created_by);
        if !self.no_trunc && command.chars().count() > COMMAND {
            command = command.chars().take(COMMAND - 1).chain(['…']).collect();
        }
        let created = history.created.as_deref().unwrap_or_default();
        json!({
            "ID": id,
            "CreatedSince": human::ago(created, now),
            "CreatedAt": text(&history.created),
            "CreatedBy": command,
            "Size": if self.human { human::size(step.size) } else { step.size.to_string() },
            "Comment": text(&history.comment),
        })
    }
}
