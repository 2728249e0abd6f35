use engine::{Engine, Listed, Status};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::format::Format;
use crate::{Failed, Outcome, human, table, tell};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only containers like this: id, name, label, status, ancestor, exited, ... =VALUE
    #[arg(short, long, value_name = "FILTER", value_parser = parse_filter)]
    filter: Vec<(String, String)>,
    /// The last N, whatever they do
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, default_value_t = -1)]
    last: i64,
    /// The last one, whatever it does
    #[arg(short, long)]
    latest: bool,
    /// Whole ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    quiet: bool,
    /// How to print: table, json, a Go template, or table and a template
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    format: String,
}

const FILTERS: [&str; 6] = ["ancestor", "exited", "id", "label", "name", "status"];

fn parse_filter(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a filter is KEY=VALUE")?;
    if !FILTERS.contains(&key) {
        return Err(format!("there is no filter {key}; there are {}", FILTERS.join(", ")));
    }
    if key == "status" && !["created", "running", "paused", "restarting", "exited", "dead"].contains(&value) {
        return Err(format!("{value:?} is no status of a container"));
    }
    if key == "exited" && value.parse::<i32>().is_err() {
        return Err("exited is an exit code".into());
    }
    Ok((key.into(), value.into()))
}

impl Args {
    pub(crate) fn run(self, engine: &Engine) -> Outcome {
        let format = Format::parse(&self.format)?;
        let (mut list, failed) = engine.list()?;
        failed.iter().for_each(|error| tell(error));
        let wanted = if self.latest { Some(1) } else { usize::try_from(self.last).ok() };
        let by_state = self.filter.iter().any(|(key, _)| key == "status" || key == "exited");
        if !self.all && wanted.is_none() && !by_state {
            list.retain(|container| container.state.status.is_live());
        }
        list.retain(|container| self.matches(container));
        list.truncate(wanted.unwrap_or(usize::MAX));
        print!("{}", self.render(&list, &format, Timestamp::now())?);
        Ok(u8::from(!failed.is_empty()))
    }

    /// Values of one key are alternatives, keys must all fit, as in docker.
    fn matches(&self, container: &Listed) -> bool {
        FILTERS.iter().all(|key| {
            let mut values =
                self.filter.iter().filter(|(own, _)| own == key).map(|(_, value)| value).peekable();
            let none = values.peek().is_none();
            // Labels must all fit, the others are alternatives.
            none || if *key == "label" {
                values.all(|value| matches_one(key, value, container))
            } else {
                values.any(|value| matches_one(key, value, container))
            }
        })
    }

    fn render(&self, list: &[Listed], format: &Format, now: Timestamp) -> Result<String, Failed> {
        if self.quiet {
            return Ok(list.iter().map(|container| self.id(container) + "\n").collect());
        }
        let rows: Vec<Value> = list.iter().map(|container| self.json(container, now)).collect();
        if let Some(text) = format.render(&titles(), &rows)? {
            return Ok(text);
        }
        let headings = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
        let row = |container: &Listed| {
            vec![
                self.id(container),
                container.summary.image.clone(),
                self.command(container),
                human::ago(&container.summary.created, now),
                status(container, now),
                String::new(),
                container.summary.name.to_string(),
            ]
        };
        Ok(table::render(&headings, &list.iter().map(row).collect::<Vec<_>>()))
    }

    fn id(&self, container: &Listed) -> String {
        let id = &container.summary.id;
        if self.no_trunc { id.to_string() } else { id.short().to_owned() }
    }

    fn command(&self, container: &Listed) -> String {
        let command = container.summary.args.join(" ");
        // What a container was given to run must not be able to write on the terminal.
        let command: String = command.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        if self.no_trunc || command.chars().count() <= 20 {
            return format!("\"{command}\"");
        }
        format!("\"{}…\"", command.chars().take(19).collect::<String>())
    }

    fn json(&self, container: &Listed, now: Timestamp) -> Value {
        let summary = &container.summary;
        let labels: Vec<String> =
            summary.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let created = human::ago(&summary.created, now);
        json!({
            "ID": self.id(container), "Image": summary.image, "Command": self.command(container),
            "CreatedAt": summary.created, "RunningFor": created, "State": container.state.status.as_str(),
            "Status": status(container, now), "Ports": "", "Names": summary.name.as_str(),
            "Labels": labels.join(","),
            "Networks": "", "LocalVolumes": summary.volumes.len().to_string(),
            "Mounts": summary.volumes.iter().map(|volume| volume.name.as_str()).collect::<Vec<_>>().join(","),
        })
    }
}

/// What the members of a row are called above a table.
fn titles() -> Value {
    json!({
        "ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "CreatedAt": "CREATED AT",
        "RunningFor": "CREATED", "State": "STATE", "Status": "STATUS", "Ports": "PORTS", "Names": "NAMES",
        "Labels": "LABELS", "Mounts": "MOUNTS", "Networks": "NETWORKS", "LocalVolumes": "LOCAL VOLUMES",
    })
}

fn matches_one(key: &str, value: &str, container: &Listed) -> bool {
    let summary = &container.summary;
    match key {
        "id" => summary.id.as_str().starts_with(value),
        "name" => summary.name.as_str().contains(value.trim_start_matches('/')),
        "label" => match value.split_once('=') {
            Some((key, value)) => summary.labels.get(key).is_some_and(|own| own == value),
            None => summary.labels.contains_key(value),
        },
        "status" => container.state.status.as_str() == value,
        "ancestor" => {
            let tagged =
                |name: &str| if name.contains(':') { name.to_owned() } else { format!("{name}:latest") };
            tagged(&summary.image) == tagged(value)
                || summary
                    .image_id
                    .trim_start_matches("sha256:")
                    .starts_with(value.trim_start_matches("sha256:"))
        }
        _ => {
            let code = container.state.exit.as_ref().map(|exit| exit.exit_code.to_string());
            container.state.status == Status::Exited && code.as_deref() == Some(value)
        }
    }
}

/// docker's STATUS column.
fn status(container: &Listed, now: Timestamp) -> String {
    let state = &container.state;
    let code = state.exit.as_ref().map_or(0, |exit| exit.exit_code);
    let finished = state.exit.as_ref().map_or("", |exit| exit.finished_at.as_str());
    match state.status {
        Status::Created => "Created".into(),
        Status::Running => format!("Up {}", human::since(&state.started_at, now)),
        Status::Paused => format!("Up {} (Paused)", human::since(&state.started_at, now)),
        Status::Restarting => format!("Restarting ({code}) {}", human::ago(finished, now)),
        Status::Exited => format!("Exited ({code}) {}", human::ago(finished, now)),
    }
}
