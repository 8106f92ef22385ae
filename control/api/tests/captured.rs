//! Bodies as the docker CLI 28.2 sends them, captured by a recording socket: each reads without loss and
//! writes back the same, but for fields that say nothing.

use mesh_api::decode::decode;
use mesh_api::engine::network::NetworkCreate;
use mesh_api::engine::node::NodeSpec;
use mesh_api::engine::says_nothing;
use mesh_api::engine::service::ServiceSpec;
use mesh_api::engine::swarm::{InitRequest, JoinRequest, SwarmSpec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The value without what says nothing; an empty object is kept, for its presence speaks (`Global`).
fn said(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .filter(|(key, value)| key.as_str() == "Global" || !says_nothing(value))
                .map(|(key, value)| (key.clone(), said(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(said).collect()),
        Value::Number(number) => {
            // Ratios are kept with the precision of the model (f32).
            #[allow(clippy::cast_possible_truncation)]
            let short = number.as_f64().filter(|_| number.is_f64()).map(|wide| wide as f32);
            short.map_or_else(|| value.clone(), |short| Value::String(short.to_string()))
        }
        other => other.clone(),
    }
}

fn round_trips<T: Serialize + DeserializeOwned>(file: &str) {
    let path = format!("{}/tests/captured/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).expect(&path);
    let sent: Value = serde_json::from_slice(&text).expect(file);
    let model: T = decode(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let back = serde_json::to_value(&model).expect(file);
    assert_eq!(said(&back), said(&sent), "{file}");
}

#[test]
fn services() {
    for file in ["service-create-1", "service-create-2", "service-create-3", "service-create-4"] {
        round_trips::<ServiceSpec>(file);
    }
    round_trips::<ServiceSpec>("service-update-1");
    round_trips::<ServiceSpec>("service-update-2");
}

#[test]
fn nodes_networks_and_the_cluster() {
    round_trips::<NodeSpec>("node-update-1");
    round_trips::<NodeSpec>("node-update-2");
    round_trips::<NetworkCreate>("network-create-1");
    round_trips::<NetworkCreate>("network-create-2");
    round_trips::<InitRequest>("swarm-init-1");
    round_trips::<JoinRequest>("swarm-join-1");
    round_trips::<SwarmSpec>("swarm-update-1");
    round_trips::<SwarmSpec>("swarm-update-2");
    round_trips::<InitRequest>("swarm-init-2");
    round_trips::<SwarmSpec>("swarm-update-3");
}

#[test]
fn a_lost_field_would_be_noticed() {
    let sent: Value = serde_json::json!({"TaskTemplate": {"ContainerSpec": {"Image": "a", "Healthcheck": {"Test": ["NONE"]}}}});
    let lossy: Value = serde_json::json!({"TaskTemplate": {"ContainerSpec": {"Image": "a"}}});
    assert_ne!(said(&sent), said(&lossy));
}
