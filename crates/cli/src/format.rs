//! `--format` of lists: `table`, `json`, a template for each row, or `table TEMPLATE` with headings.

use serde_json::Value;

use crate::table;
use crate::template::{Template, TemplateError};

/// A way to print a list.
#[derive(Debug)]
pub(crate) enum Format {
    /// The usual columns.
    Table,
    /// One JSON document per line.
    Json,
    /// A template per row.
    Rows(Template),
    /// A template per row, with headings, columns being separated by tabs.
    Columns(Template),
}

impl Format {
    /// Reads a `--format`.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        // docker: the two characters \t and \n are a tab and a newline.
        let template = |text: &str| Template::parse(&text.replace("\\t", "\t").replace("\\n", "\n"));
        match text.trim() {
            "table" | "" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => match text.strip_prefix("table ") {
                Some(rest) => template(rest.trim_start()).map(Self::Columns),
                None => template(text).map(Self::Rows),
            },
        }
    }

    /// Prints `rows`, objects whose members templates name; none for [`Format::Table`], which is the caller's.
    /// `headings` has the same members.
    ///
    /// # Errors
    /// [`TemplateError`] where the template does not fit.
    pub(crate) fn render(&self, headings: &Value, rows: &[Value]) -> Result<Option<String>, TemplateError> {
        let lines = |template: &Template| -> Result<Vec<String>, TemplateError> {
            rows.iter().map(|row| template.apply(row)).collect()
        };
        Ok(match self {
            Self::Table => None,
            Self::Json => Some(rows.iter().map(|row| format!("{row}\n")).collect()),
            Self::Rows(template) => Some(lines(template)?.into_iter().map(|line| line + "\n").collect()),
            Self::Columns(template) => {
                let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
                let heading = template.apply(headings)?;
                let titles: Vec<&str> = heading.split('\t').collect();
                let rows: Vec<_> = lines(template)?.iter().map(|line| cells(line)).collect();
                Some(table::render(&titles, &rows))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_four_ways() {
        let headings = json!({ "ID": "CONTAINER ID", "Names": "NAMES" });
        let rows = [json!({ "ID": "abc", "Names": "one" })];
        let render = |text: &str| Format::parse(text).unwrap().render(&headings, &rows).unwrap();
        assert_eq!(render("table"), None);
        assert_eq!(render("json").as_deref(), Some("{\"ID\":\"abc\",\"Names\":\"one\"}\n"));
        assert_eq!(render("{{.ID}}: {{.Names}}").as_deref(), Some("abc: one\n"));
        let table = render("table {{.Names}}\\t{{.ID}}");
        assert_eq!(table.as_deref(), Some("NAMES   CONTAINER ID\none     abc\n"));
        assert!(Format::parse("{{").is_err());
        assert!(Format::parse("{{.Nope}}").unwrap().render(&headings, &rows).is_err());
    }
}
