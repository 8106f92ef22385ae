//! `meshctl events`: what happens in the cluster, as it happens.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mesh_api::engine::event::Event;
use mesh_api::engine::filter::Filters;
use serde_json::Value;

use crate::client::{Client, escape};
use crate::error::CliError;
use crate::output::Shell;
use crate::output::list::key_value;
use crate::output::template::Template;
use crate::parse::time::moment;

/// `meshctl events`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  meshctl events\n  meshctl events --filter type=service --filter event=update\n  meshctl events --filter type=task --filter service=web\n  meshctl events --since 10m --until 0s\n  meshctl events --format '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'"
)]
pub struct EventsArgs {
    /// Tell only what matches: type= (node, service, network, task), event= (create, update, remove), service=,
    /// node=, network=, label=, scope=; tasks are told with type=task alone
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = key_value)]
    filters: Vec<(String, String)>,
    /// `json`, or a Go template such as '{{.Type}} {{.Action}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Begin with what is known since then: a time, seconds since 1970, or as long ago as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End then, as in --since
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Tells events until Ctrl-C, or the time that was said.
pub async fn run(args: &EventsArgs, client: &Client, shell: &mut Shell) -> Result<(), CliError> {
    let zone = TimeZone::system();
    let form = Form::read(args.format.as_deref(), &zone)?;
    let mut lines = client.http().lines(&path(args, Timestamp::now(), &zone)?).await?;
    loop {
        let event = tokio::select! {
            event = lines.next::<Event>() => event?,
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        };
        match event {
            Some(event) => shell.raw(&(form.show(&event)? + "\n"))?,
            None if args.until.is_some() => return Ok(()),
            None => {
                let host = client.http().host().to_owned();
                return Err(CliError::Broken {
                    host,
                    reason: "the events ended, as when it stops or is no manager any more".to_owned(),
                });
            }
        }
    }
}

fn path(args: &EventsArgs, now: Timestamp, zone: &TimeZone) -> Result<String, CliError> {
    let mut filters = Filters::default();
    for (name, value) in &args.filters {
        filters.add(name, value);
    }
    let mut path = format!("/events?filters={}", escape(&filters.to_json()));
    for (name, text) in [("since", &args.since), ("until", &args.until)] {
        if let Some(text) = text {
            let time = moment(text, now, zone).map_err(|why| CliError::Usage(format!("--{name}: {why}")))?;
            path.extend(["&", name, "=", &time]);
        }
    }
    Ok(path)
}

/// How an event is written.
enum Form<'a> {
    Line(&'a TimeZone),
    Json,
    Template(Template),
}

impl<'a> Form<'a> {
    fn read(format: Option<&str>, zone: &'a TimeZone) -> Result<Self, CliError> {
        match format {
            None | Some("") => Ok(Self::Line(zone)),
            Some("json") => Ok(Self::Json),
            Some(template) => Template::parse(template).map(Self::Template),
        }
    }

    fn show(&self, event: &Event) -> Result<String, CliError> {
        match self {
            Self::Line(zone) => Ok(line(event, zone)),
            Self::Json => Ok(value(event)?.to_string()),
            Self::Template(template) => {
                let mut value = value(event)?;
                // Go's names, where JSON has others.
                for (name, json) in [("Scope", "scope"), ("Time", "time"), ("TimeNano", "timeNano")] {
                    value[name] = value[json].clone();
                }
                template.fill(&value)
            }
        }
    }
}

fn value(event: &Event) -> Result<Value, CliError> {
    serde_json::to_value(event).map_err(|error| CliError::Output(error.into()))
}

/// `TIME TYPE ACTION ID (name=…, …)`, as docker writes it.
fn line(event: &Event, zone: &TimeZone) -> String {
    let time = Timestamp::from_nanosecond(i128::from(event.time_nano)).unwrap_or_default();
    let time = time.to_zoned(zone.clone());
    let offset = if time.offset().seconds() == 0 { "Z" } else { "%:z" };
    let time = time.strftime(&format!("%Y-%m-%dT%H:%M:%S.%9f{offset}")).to_string();
    let attributes = &event.actor.attributes;
    let attributes: Vec<_> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let attributes =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {} {} {}{attributes}", event.kind, event.action, event.actor.id)
}

#[cfg(test)]
mod tests {
    use mesh_api::decode::decode;

    use super::*;

    fn event() -> Event {
        let text = r#"{"Type":"service","Action":"update","Actor":{"ID":"abc","Attributes":{"name":"web",
            "replicas.new":"4","replicas.old":"1"}},"scope":"swarm","time":1700000000,"timeNano":1700000000000000001}"#;
        decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_event_as_docker_writes_it() {
        assert_eq!(
            line(&event(), &TimeZone::UTC),
            "2023-11-14T22:13:20.000000001Z service update abc (name=web, replicas.new=4, replicas.old=1)"
        );
        let east = TimeZone::fixed(jiff::tz::offset(8));
        assert!(line(&event(), &east).starts_with("2023-11-15T06:13:20.000000001+08:00 service"));
    }

    #[test]
    fn formats() {
        let zone = TimeZone::UTC;
        let shown = |format| Form::read(Some(format), &zone).unwrap().show(&event()).unwrap();
        assert_eq!(
            shown("{{.Type}} {{.Actor.Attributes.name}} {{.Scope}} {{.Time}}"),
            "service web swarm 1700000000"
        );
        let json: Value = serde_json::from_str(&shown("json")).unwrap();
        assert_eq!(json["timeNano"], 1_700_000_000_000_000_001_i64);
        assert!(json.get("TimeNano").is_none(), "{json}");
    }

    #[test]
    fn what_is_asked_for() {
        let args = EventsArgs {
            filters: vec![("type".to_owned(), "service".to_owned())],
            format: None,
            since: Some("10m".to_owned()),
            until: Some("1700000000".to_owned()),
        };
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(
            path(&args, now, &TimeZone::UTC).unwrap(),
            "/events?filters=%7B%22type%22%3A%5B%22service%22%5D%7D&since=1799999400.000000000&until=1700000000"
        );
        let wrong = EventsArgs { since: Some("soon".to_owned()), ..args };
        let refused = path(&wrong, now, &TimeZone::UTC).unwrap_err();
        assert_eq!(
            (refused.exit(), refused.to_string().contains("--since: invalid time \"soon\"")),
            (64, true)
        );
    }
}
