//! Events, as Docker tells them: what happened to nodes, services, networks, secrets, configs and tasks.

use mesh_api::engine::Map;
use mesh_api::engine::event::{Actor, Event};
use mesh_api::engine::filter::Filters;
use mesh_core::content::{Content, ContentKind};
use mesh_core::object::{Meta, Network, Node, Service, Task};
use mesh_core::spec::{Labels, ServiceMode};
use mesh_core::store::{Change, Delta, Store};
use mesh_core::time::Timestamp;

use super::super::backend::{Peers, Reachability};
use super::node::{availability_word, state_word};

/// What Docker's clients filter by. Of `container` to `volume` there are no events here, so nothing matches.
pub const FILTERS: [&str; 15] = [
    "type",
    "event",
    "scope",
    "label",
    "service",
    "node",
    "network",
    "task",
    "container",
    "daemon",
    "image",
    "plugin",
    "volume",
    "secret",
    "config",
];

/// Kinds that a filter of the same name looks at.
const KINDS: [&str; 6] = ["service", "node", "network", "task", "secret", "config"];

/// An event, with what filters look at.
#[derive(Debug, Clone)]
pub struct News {
    /// What is told.
    pub event: Event,
    labels: Labels,
    /// The object itself and, of a task, where it belongs: kind, id, name.
    about: Vec<(&'static str, String, String)>,
}

impl News {
    /// Whether somebody who filters like this wants to hear it. Docker knows no events of tasks, and its
    /// clients may not bear them: they are told to those who ask for them by type.
    pub fn matches(&self, filters: &Filters) -> bool {
        let Event { kind, action, scope, .. } = &self.event;
        let named = |word: &str, wanted: &str| {
            let starts = |text: &String| text.starts_with(wanted);
            self.about.iter().any(|(kind, id, name)| *kind == word && (starts(id) || starts(name)))
        };
        let asked = match kind.as_str() {
            "task" => filters.get("type").is_some_and(|kinds| kinds.contains("task")),
            kind => filters.any("type", |wanted| wanted == kind),
        };
        let mut others = FILTERS.iter().skip(4).filter(|word| !KINDS.contains(word));
        asked
            && filters.any("event", |wanted| wanted == action)
            && filters.any("scope", |wanted| wanted == scope)
            && filters.labels("label", &self.labels)
            && KINDS.iter().all(|word| filters.any(word, |wanted| named(word, wanted)))
            && others.all(|word| filters.get(word).is_none())
    }

    fn new(kind: &'static str, id: String, name: String, labels: &Labels) -> Self {
        let attributes = Map::from([("name".to_owned(), name.clone())]);
        let event = Event {
            kind: kind.to_owned(),
            actor: Actor { id: id.clone(), attributes },
            scope: "swarm".to_owned(),
            ..Event::default()
        };
        Self { event, labels: labels.clone(), about: vec![(kind, id, name)] }
    }

    fn tell(&mut self, attribute: &str, text: impl Into<String>) {
        self.event.actor.attributes.insert(attribute.to_owned(), text.into());
    }

    /// Tells an attribute's two values, when they differ.
    fn differ(&mut self, attribute: &str, old: impl Into<String>, new: impl Into<String>) {
        let (old, new) = (old.into(), new.into());
        if old != new {
            self.tell(&format!("{attribute}.old"), old);
            self.tell(&format!("{attribute}.new"), new);
        }
    }

    fn at(mut self, action: &str, time: Timestamp) -> Self {
        action.clone_into(&mut self.event.action);
        self.event.time_nano = i64::try_from(time.0).unwrap_or(i64::MAX);
        self.event.time = self.event.time_nano / 1_000_000_000;
        self
    }
}

/// What a change of the store is told as; `store` is the one after it, and `now` when a removal is told.
pub fn of_change(change: &Change, store: &Store, now: Timestamp) -> Option<News> {
    match change {
        Change::Cluster(_) => None,
        Change::Node(delta) => of_delta(delta, |node| node.meta, node, node_differs, now),
        Change::Network(delta) => of_delta(delta, |network| network.meta, network, |_, _, _| {}, now),
        Change::Secret(delta) => of_delta(delta, |found| found.meta, content, |_, _, _| {}, now),
        Change::Config(delta) => of_delta(delta, |found| found.meta, content, |_, _, _| {}, now),
        Change::Service(delta) => of_delta(delta, |service| service.meta, service, service_differs, now),
        Change::Task(delta) => {
            of_delta(delta, |task| task.meta, |found| task(found, store), task_differs, now)
        }
    }
}

fn of_delta<T>(
    delta: &Delta<T>,
    meta: impl Fn(&T) -> Meta,
    news: impl Fn(&T) -> News,
    differs: impl Fn(&mut News, &T, &T),
    now: Timestamp,
) -> Option<News> {
    match (&delta.old, &delta.new) {
        (None, None) => None,
        (None, Some(new)) => Some(news(new).at("create", meta(new).created_at)),
        (Some(old), None) => Some(news(old).at("remove", now)),
        (Some(old), Some(new)) => {
            let mut told = news(new);
            differs(&mut told, old, new);
            Some(told.at("update", meta(new).updated_at))
        }
    }
}

/// What is still known of the time since `since`: when each object that is there was made, and when it was
/// last changed; in order of time.
pub fn of_past(store: &Store, since: Timestamp) -> Vec<News> {
    let objects = (store.nodes().map(|found| (found.meta, node(found))))
        .chain(store.networks().map(|found| (found.meta, network(found))))
        .chain(store.secrets().iter().map(|found| (found.meta, content(found))))
        .chain(store.configs().iter().map(|found| (found.meta, content(found))))
        .chain(store.services().map(|found| (found.meta, service(found))))
        .chain(store.tasks().map(|found| (found.meta, task(found, store))));
    let mut past = Vec::new();
    for (meta, news) in objects {
        if meta.version != meta.created_version && meta.updated_at >= since {
            past.push(news.clone().at("update", meta.updated_at));
        }
        if meta.created_at >= since {
            past.push(news.at("create", meta.created_at));
        }
    }
    past.sort_by(|one, other| {
        let order = |news: &News| (news.event.time_nano, news.event.action.clone());
        order(one).cmp(&order(other))
    });
    past
}

/// What is told of a manager whose part changed in the eyes of the asked one.
pub fn of_peers(found: &Node, before: &Peers, after: &Peers, now: Timestamp) -> Option<News> {
    let raft_id = found.manager.as_ref()?.raft_id;
    let mut told = node(found);
    let leads = |peers: &Peers| peers.is_leader(raft_id).to_string();
    told.differ("leader", leads(before), leads(after));
    let (was, is) = (before.reachability(raft_id), after.reachability(raft_id));
    if was != Reachability::Unknown && is != Reachability::Unknown {
        told.differ("reachability", was.as_str(), is.as_str());
    }
    (told.event.actor.attributes.len() > 1).then(|| told.at("update", now))
}

fn node(node: &Node) -> News {
    let name = node.spec.name.clone().unwrap_or_else(|| node.description.hostname.clone());
    News::new("node", node.id.to_string(), name, &node.spec.labels)
}

fn node_differs(told: &mut News, old: &Node, new: &Node) {
    let availability = |node: &Node| availability_word(node.spec.availability);
    told.differ("availability", availability(old), availability(new));
    told.differ("role", old.spec.role.as_str(), new.spec.role.as_str());
    told.differ("state", state_word(old.status.state), state_word(new.status.state));
}

fn network(network: &Network) -> News {
    let spec = &network.spec;
    News::new("network", network.id.to_string(), spec.name.to_string(), &spec.labels)
}

fn content<K: ContentKind>(content: &Content<K>) -> News {
    let spec = &content.spec;
    News::new(K::KIND.as_str(), content.id.to_string(), spec.name.to_string(), &spec.labels)
}

fn service(service: &Service) -> News {
    let spec = &service.spec;
    News::new("service", service.id.to_string(), spec.name.to_string(), &spec.labels)
}

fn service_differs(told: &mut News, old: &Service, new: &Service) {
    if let (ServiceMode::Replicated { replicas: old }, ServiceMode::Replicated { replicas: new }) =
        (old.spec.mode, new.spec.mode)
    {
        told.differ("replicas", old.to_string(), new.to_string());
    }
    let image = |service: &Service| service.spec.task.container.image.clone();
    told.differ("image", image(old), image(new));
}

fn task(task: &Task, store: &Store) -> News {
    let mut told = News::new("task", task.id.to_string(), task.name(), &task.spec.container.labels);
    let service = (task.service.to_string(), task.service_name.to_string());
    told.tell("service", service.1.clone());
    told.about.push(("service", service.0, service.1));
    if let Some(id) = task.node {
        let name = store.node(id).map_or_else(|| id.to_string(), |node| node.description.hostname.clone());
        told.tell("node", name.clone());
        told.about.push(("node", id.to_string(), name));
    }
    told.tell("state", task.status.state.as_str());
    told
}

fn task_differs(told: &mut News, old: &Task, new: &Task) {
    told.differ("state", old.status.state.as_str(), new.status.state.as_str());
    told.differ("desiredstate", old.desired_state.as_str(), new.desired_state.as_str());
    if !new.status.err.is_empty() {
        told.tell("error", new.status.err.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(kind: &'static str, action: &str) -> News {
        let labels = Labels::from([("tier".to_owned(), "back".to_owned())]);
        News::new(kind, format!("{kind}-id"), "web".to_owned(), &labels).at(action, Timestamp(5_000_000_001))
    }

    #[test]
    fn an_event_in_dockers_words() {
        let mut told = news("service", "update");
        told.differ("replicas", "1", "3");
        told.differ("image", "a", "a");
        let text = serde_json::to_value(&told.event).unwrap();
        assert_eq!(
            text,
            serde_json::json!({"Type": "service", "Action": "update", "Actor": {"ID": "service-id", "Attributes":
                {"name": "web", "replicas.old": "1", "replicas.new": "3"}}, "scope": "swarm", "time": 5,
                "timeNano": 5_000_000_001_i64})
        );
    }

    #[test]
    fn filters_are_dockers() {
        for (filters, heard) in [
            ("{}", true),
            (r#"{"type":["service"]}"#, true),
            (r#"{"type":["node","service"]}"#, true),
            (r#"{"type":["node"]}"#, false),
            (r#"{"event":["create"]}"#, true),
            (r#"{"event":["remove"]}"#, false),
            (r#"{"scope":["swarm"]}"#, true),
            (r#"{"scope":["local"]}"#, false),
            (r#"{"service":["we"]}"#, true),
            (r#"{"service":["service-i"]}"#, true),
            (r#"{"service":["db"]}"#, false),
            (r#"{"node":["web"]}"#, false),
            (r#"{"container":["web"]}"#, false),
            (r#"{"label":["tier=back"]}"#, true),
            (r#"{"label":["tier=front"]}"#, false),
        ] {
            assert_eq!(
                news("service", "create").matches(&Filters::parse(filters).unwrap()),
                heard,
                "{filters}"
            );
        }
        let task = news("task", "create");
        assert!(!task.matches(&Filters::default()), "Docker has no events of tasks");
        assert!(task.matches(&Filters::parse(r#"{"type":["task"]}"#).unwrap()));
    }
}
