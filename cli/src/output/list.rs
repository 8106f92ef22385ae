//! Lists: columns by default, or what `-q`, `--format` and `--no-trunc` ask for.

use clap::Args;
use mesh_api::engine::filter::Filters;
use serde_json::{Map, Value};

use super::Shell;
use super::table;
use super::template::Template;
use crate::error::CliError;

/// Flags that every list has.
#[derive(Debug, Clone, Default, Args)]
pub struct ListArgs {
    /// Only show IDs
    #[arg(short, long)]
    pub quiet: bool,
    /// `table`, `table TEMPLATE`, `json`, or a Go template such as '{{.ID}}: {{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Do not cut IDs and messages
    #[arg(long)]
    pub no_trunc: bool,
    /// Show only what matches, as in name=web; once for each
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = key_value)]
    pub filters: Vec<(String, String)>,
}

/// `KEY=VALUE` of a filter.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_lowercase(), value.trim().to_owned())),
        _ => Err(format!("invalid argument {text:?}: a filter is KEY=VALUE, as in name=web")),
    }
}

impl ListArgs {
    /// The filters as the API takes them.
    pub fn filters(&self) -> Filters {
        let mut filters = Filters::default();
        for (name, value) in &self.filters {
            filters.add(name, value);
        }
        filters
    }
}

impl ListArgs {
    /// The list is shown in columns.
    pub fn is_table(&self) -> bool {
        let format = self.format.as_deref().unwrap_or_default();
        !self.quiet && (matches!(format, "" | "table") || format.starts_with("table "))
    }
}

/// A list: what its rows have, and which of it is shown by default.
pub struct Listing {
    /// Field of a row (as templates name it) and heading of its column; the first is what `-q` shows.
    pub fields: &'static [(&'static str, &'static str)],
    /// Fields shown by default.
    pub columns: &'static [&'static str],
    /// The rows.
    pub rows: Vec<Row>,
}

/// One row: text by field.
pub struct Row(Map<String, Value>);

impl Row {
    /// A row of these fields, in the order of [`Listing::fields`].
    pub fn new<const N: usize>(fields: &[(&'static str, &'static str)], cells: [String; N]) -> Self {
        let named = fields.iter().map(|(field, _)| (*field).to_owned());
        Self(named.zip(cells.map(Value::String)).collect())
    }

    fn cell(&self, field: &str) -> String {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl Listing {
    /// Writes the list as it was asked for.
    pub fn show(self, args: &ListArgs, shell: &mut Shell) -> Result<(), CliError> {
        match args.format.as_deref() {
            None | Some("table") if args.quiet => self.show_quiet(shell),
            None | Some("table" | "") => self.show_table(shell),
            Some("json") => self.show_json(shell),
            Some(format) => match format.strip_prefix("table ") {
                Some(template) => self.show_columns(template, shell),
                None => self.show_lines(format, shell),
            },
        }
    }

    fn show_quiet(self, shell: &mut Shell) -> Result<(), CliError> {
        let id = self.fields.first().map(|(field, _)| *field).unwrap_or_default();
        for row in &self.rows {
            shell.line(&row.cell(id))?;
        }
        Ok(())
    }

    fn show_table(self, shell: &mut Shell) -> Result<(), CliError> {
        let heading = |column: &&str| {
            let found = self.fields.iter().find(|(field, _)| field == column);
            found.map(|(_, heading)| (*heading).to_owned()).unwrap_or_default()
        };
        let header = self.columns.iter().map(heading).collect();
        let rows = self.rows.iter().map(|row| self.columns.iter().map(|column| row.cell(column)).collect());
        Ok(shell.raw(&table::render(std::iter::once(header).chain(rows)))?)
    }

    fn show_json(self, shell: &mut Shell) -> Result<(), CliError> {
        for row in self.rows {
            shell.line(&Value::Object(row.0).to_string())?;
        }
        Ok(())
    }

    fn show_lines(self, format: &str, shell: &mut Shell) -> Result<(), CliError> {
        let template = Template::parse(format)?;
        for row in self.rows {
            shell.line(&template.fill(&Value::Object(row.0))?)?;
        }
        Ok(())
    }

    fn show_columns(self, template: &str, shell: &mut Shell) -> Result<(), CliError> {
        let template = Template::parse(template)?;
        let headings = self.fields.iter().map(|(field, heading)| ((*field).to_owned(), (*heading).into()));
        let header = Value::Object(headings.collect());
        let mut lines = vec![template.fill(&header)?];
        for row in self.rows {
            lines.push(template.fill(&Value::Object(row.0))?);
        }
        let rows = lines.iter().map(|line| line.split('\t').map(str::to_owned).collect());
        Ok(shell.raw(&table::render(rows))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::captured;

    const FIELDS: &[(&str, &str)] = &[("ID", "ID"), ("Name", "NAME"), ("Desired", "DESIRED STATE")];

    fn shown(args: &ListArgs) -> String {
        let rows = vec![
            Row::new(FIELDS, ["a".to_owned(), "web".to_owned(), "Running".to_owned()]),
            Row::new(FIELDS, ["b".to_owned(), "db".to_owned(), "Shutdown".to_owned()]),
        ];
        let listing = Listing { fields: FIELDS, columns: &["Name", "Desired"], rows };
        captured(|shell| listing.show(args, shell))
    }

    fn format(text: &str) -> ListArgs {
        ListArgs { format: Some(text.to_owned()), ..ListArgs::default() }
    }

    #[test]
    fn a_list_in_every_form() {
        for (args, text) in [
            (ListArgs::default(), "NAME      DESIRED STATE\nweb       Running\ndb        Shutdown\n"),
            (ListArgs { quiet: true, ..ListArgs::default() }, "a\nb\n"),
            (
                format("json"),
                "{\"Desired\":\"Running\",\"ID\":\"a\",\"Name\":\"web\"}\n{\"Desired\":\"Shutdown\",\"ID\":\"b\",\"Name\":\"db\"}\n",
            ),
            (format("{{.ID}}={{.Name}}"), "a=web\nb=db\n"),
            (
                format(r"table {{.ID}}\t{{upper .Desired}}"),
                "ID        DESIRED STATE\na         RUNNING\nb         SHUTDOWN\n",
            ),
        ] {
            assert_eq!(shown(&args), text);
        }
        assert!(shown(&format("{{.Nope}}")).contains("no field \"Nope\""));
    }

    #[test]
    fn filters_are_keys_and_values() {
        assert_eq!(key_value("Name=a=b"), Ok(("name".to_owned(), "a=b".to_owned())));
        assert!(key_value("name").is_err());
        assert!(key_value("=x").is_err());
    }
}
