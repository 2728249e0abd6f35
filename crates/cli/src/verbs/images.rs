use image::{Filter, Images, Summary};
use jiff::Timestamp;

use crate::{Outcome, human, table};

#[derive(clap::Args)]
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
    /// How to print
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
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
        let mut filter = Filter { reference: self.reference.clone(), ..Filter::default() };
        for (key, value) in &self.filter {
            match key.as_str() {
                "dangling" => filter.dangling = Some(matches!(value.as_str(), "true" | "1")),
                "label" => filter.labels.push(value.clone()),
                _ => filter.reference = Some(value.clone()),
            }
        }
        let list = images.list(&filter)?;
        print!("{}", self.render(&list, Timestamp::now()));
        Ok(0)
    }

    fn render(&self, list: &[Summary], now: Timestamp) -> String {
        if self.quiet {
            return list.iter().map(|image| self.id(image) + "\n").collect();
        }
        if self.format == "json" {
            return list.iter().map(|image| self.json(image, now).to_string() + "\n").collect();
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
        table::render(&headings, &list.iter().map(row).collect::<Vec<_>>())
    }

    fn id(&self, image: &Summary) -> String {
        if self.no_trunc { image.id.to_string() } else { image.id.short() }
    }

    fn json(&self, image: &Summary, now: Timestamp) -> serde_json::Value {
        serde_json::json!({
            "Repository": image.repository, "Tag": image.tag, "Digest": image.digest.to_string(), "ID": self.id(image),
            "CreatedAt": image.created, "CreatedSince": human::ago(&image.created, now),
            "Size": human::size(image.size),
        })
    }
}
