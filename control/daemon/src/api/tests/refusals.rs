//! Bad input: refused with the field and the reason, and nothing half-made.

use super::double::Client;

const BASE: &str = r#""TaskTemplate":{"ContainerSpec":{"Image":"mesh/whoami:1"}}"#;

/// A service body with the standard task and `rest`.
fn service(rest: &str) -> String {
    format!("{{{BASE},{rest}}}")
}

fn port(published: u32, target: u32) -> String {
    service(&format!(
        r#""Name":"p","EndpointSpec":{{"Ports":[{{"TargetPort":{target},"PublishedPort":{published}}}]}}"#
    ))
}

fn network(rest: &str) -> String {
    format!(r#"{{"Driver":"overlay",{rest}}}"#)
}

/// What is sent, and what the answer's message has in it.
fn cases() -> Vec<(&'static str, String, u16, &'static str)> {
    const SERVICE: &str = "/services/create";
    const NETWORK: &str = "/networks/create";
    vec![
        (SERVICE, "{".to_owned(), 400, "invalid JSON: EOF"),
        (SERVICE, String::new(), 400, "invalid JSON: EOF"),
        (SERVICE, r#"{"Name":5}"#.to_owned(), 400, "invalid value for Name: "),
        (SERVICE, service(r#""Name":"b@d""#), 400, "name must be valid as a DNS name component"),
        (SERVICE, service(r#""Name":"taken""#), 409, "name conflicts with an existing object: service taken"),
        (SERVICE, service(r#""Name":"TAKEN""#), 409, "name conflicts with an existing object"),
        (SERVICE, r#"{"Name":"x"}"#.to_owned(), 400, "TaskTemplate.ContainerSpec"),
        (
            SERVICE,
            r#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"No Image"}}}"#.to_owned(),
            400,
            "TaskTemplate.ContainerSpec.Image: invalid reference format",
        ),
        (
            SERVICE,
            service(r#""Name":"x","Mode":{"Replicated":{"Replicas":-1}}"#),
            400,
            "Mode.Replicated.Replicas",
        ),
        (SERVICE, service(r#""Name":"x","Mode":{"Replicated":{"Replicas":4000000000}}"#), 400, "replicas"),
        (
            SERVICE,
            r#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Resources":{"Reservations":{"GenericResources":[{"NamedResourceSpec":{"Kind":"gpu","Value":"a"}}]}}}}"#.to_owned(),
            400,
            "TaskTemplate.Resources.Reservations.GenericResources[0]: invalid argument for resource gpu",
        ),
        (
            SERVICE,
            r#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Resources":{"Reservations":{"GenericResources":[{"DiscreteResourceSpec":{"Kind":"g pu","Value":1}}]}}}}"#.to_owned(),
            400,
            "generic resources",
        ),
        (SERVICE, port(8080, 80), 400, "port '8080' is already in use by service 'taken'"),
        (SERVICE, port(2377, 80), 400, "2377"),
        (SERVICE, port(22, 80), 400, "port 22/tcp is in use by a process on node n1"),
        (SERVICE, port(70_000, 80), 400, "EndpointSpec.Ports[0].PublishedPort"),
        (SERVICE, port(0, 0), 400, "EndpointSpec.Ports[0].TargetPort"),
        (
            SERVICE,
            r#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Networks":[{"Target":"nope"}]}}"#.to_owned(),
            404,
            "network nope not found",
        ),
        (
            SERVICE,
            r#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Networks":[{"Target":"ingress"}]}}"#
                .to_owned(),
            400,
            "ingress network",
        ),
        (
            SERVICE,
            r#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"a","Mounts":[{"Target":"/v"}]}}}"#.to_owned(),
            400,
            "TaskTemplate.ContainerSpec.Mounts is not supported",
        ),
        (
            SERVICE,
            r#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Placement":{"Constraints":["node.role=x"]}}}"#
                .to_owned(),
            400,
            "TaskTemplate.Placement.Constraints[0]",
        ),
        (
            SERVICE,
            r#"{"Name":"x","TaskTemplate":{"ContainerSpec":{"Image":"a"},"Networks":[{"Target":"tiny"}]}}"#.to_owned(),
            409,
            "could not find an available IP in network tiny",
        ),
        (NETWORK, network(r#""Name":"tiny""#), 409, "network tiny already exists"),
        (NETWORK, network(r#""Name":"-n""#), 400, "invalid value for Name"),
        (NETWORK, r#"{"Name":"n","Driver":"bridge"}"#.to_owned(), 400, "invalid value for Driver"),
        (
            NETWORK,
            network(r#""Name":"n","IPAM":{"Config":[{"Subnet":"10.0.0.0/33"}]}"#),
            400,
            "IPAM.Config[0].Subnet",
        ),
        (
            NETWORK,
            network(r#""Name":"n","IPAM":{"Config":[{"Subnet":"192.0.2.0/24"}]}"#),
            400,
            "subnet 192.0.2.0/24 overlaps 192.0.2.0/24, which node n1 is on",
        ),
        ("/nodes/n1/update?version=x", r#"{"Role":"manager","Availability":"active"}"#.to_owned(), 400, "version"),
        ("/nodes/nope/update?version=1", r#"{"Role":"manager","Availability":"active"}"#.to_owned(), 404, "node nope"),
        ("/services/taken/update", service(r#""Name":"taken""#), 400, "invalid service version ''"),
        ("/services/nope/update?version=1", service(r#""Name":"nope""#), 404, "service nope not found"),
        ("/swarm/update?version=1", r#"{"Dispatcher":{"HeartbeatPeriod":-5}}"#.to_owned(), 400, "HeartbeatPeriod"),
    ]
}

#[tokio::test]
async fn a_refusal_names_the_field_and_leaves_the_store_as_it_was() {
    let client = Client::manager();
    let taken =
        service(r#""Name":"taken","EndpointSpec":{"Ports":[{"TargetPort":80,"PublishedPort":8080}]}"#);
    client.post("/services/create", &taken).await;
    let tiny = network(r#""Name":"tiny","IPAM":{"Config":[{"Subnet":"10.77.0.0/29"}]}"#);
    client.post("/networks/create", &tiny).await;
    // A /29 has five addresses beside its own, the gateway's and the broadcast's.
    for number in 0..5 {
        let fills = format!(
            r#"{{"Name":"fills{number}","TaskTemplate":{{"ContainerSpec":{{"Image":"a"}},"Networks":[{{"Target":"tiny"}}]}}}}"#
        );
        client.post("/services/create", &fills).await;
    }
    let before = client.get("/mesh/v1/digest").await;
    assert_eq!(before["Digest"].as_str().unwrap().len(), 64);
    for (path, body, status, words) in cases() {
        let (found, message) = client.refusal("POST", path, &body).await;
        assert_eq!(found, status, "{path} {body}: {message}");
        assert!(message.contains(words), "{path} {body}: {message}");
        assert!(!message.contains('\n'), "{message}");
        assert_eq!(client.get("/mesh/v1/digest").await, before, "{path} {body}");
    }
    client.post("/services/create", &service(r#""Name":"good""#)).await;
    assert_ne!(client.get("/mesh/v1/digest").await, before, "the digest tells a change");
}

#[tokio::test]
async fn a_body_beyond_bounds_is_refused() {
    let client = Client::manager();
    let body = format!(r#"{{"Name":"{}"}}"#, "x".repeat(super::super::extract::BODY_MAX));
    let (status, message) = client.refusal("POST", "/services/create", &body).await;
    assert_eq!((status, message.contains("larger than")), (413, true), "{message}");
}
