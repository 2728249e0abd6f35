use image::{Filter, Images, Summary};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::format::Format;
use crate::{Failed, Outcome, human, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this repository, or this repository and tag; * stands for anything but a slash
    reference: Option<String>,
    /// Only images like this: dangling=true|false, label=KEY[=VALUE], reference=PATTERN
    #[arg(short, long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// Whole ids
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// Digests too
    #[arg(long)]
    digests: bool,
    /// How to print: table, json, a Go template, or table and a template
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    format: String,
}

fn parse_filter(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a filter is KEY=VALUE")?;
    match (key, value) {
        ("dangling", "true" | "false" | "1" | "0") | ("label" | "reference", _) => {
            Ok((key.into(), value.into()))
        }
        ("dangling", _) => Err("dangling is true or false".into()),
        _ => Err(format!("there is no filter {key}; there are dangling, label and reference")),
    }
}

impl Args {
    pub(crate) fn run(self, images: &Images) -> Outcome {
        let format = Format::parse(&self.format)?;
        let mut filter = Filter { reference: self.reference.clone(), ..Filter::default() };
        for (key, value) in &self.filter {
            match key.as_str() {
                "dangling" => filter.dangling = Some(matches!(value.as_str(), "true" | "1")),
                "label" => filter.labels.push(value.clone()),
                _ => filter.reference = Some(value.clone()),
            }
        }
        let list = images.list(&filter)?;
        print!("{}", self.render(&list, &format, Timestamp::now())?);
        Ok(0)
    }

    fn render(&self, list: &[Summary], format: &Format, now: Timestamp) -> Result<String, Failed> {
        if self.quiet {
            return Ok(list.iter().map(|image| self.id(image) + "\n").collect());
        }
        let titles = json!({
            "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
            "CreatedAt": "CREATED AT", "CreatedSince": "CREATED", "Size": "SIZE",
        });
        let rows: Vec<Value> = list.iter().map(|image| self.json(image, now)).collect();
        if let Some(text) = format.render(&titles, &rows)? {
            return Ok(text);
        }
        let headings = ["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"];
        let shown = |column: &usize| self.digests || *column != 2;
        let row = |image: &Summary| {
            let created = human::ago(&image.created, now);
            let cells = [
                &image.repository,
                &image.tag,
                &image.digest.to_string(),
                &self.id(image),
                &created,
                &human::size(image.size),
            ];
            (0..6).filter(shown).map(|column| cells[column].clone()).collect()
        };
        let headings: Vec<&str> = (0..6).filter(shown).map(|column| headings[column]).collect();
        Ok(table::render(&headings, &list.iter().map(row).collect::<Vec<_>>()))
    }

    fn id(&self, image: &Summary) -> String {
        if self.no_trunc { image.id.to_string() } else { image.id.short() }
    }

    fn json(&self, image: &Summary, now: Timestamp) -> Value {
        json!({
            "Repository": image.repository, "Tag": image.tag, "Digest": image.digest.to_string(), "ID": self.id(image),
            "CreatedAt": image.created, "CreatedSince": human::ago(&image.created, now),
            "Size": human::size(image.size),
        })
    }
}
