//! Services that are jobs, and what an update may be asked for.

use serde_json::{Value, json};

use super::double::Client;

fn job(name: &str, mode: &Value) -> String {
    json!({"Name": name, "TaskTemplate": {"ContainerSpec": {"Image": "mesh/whoami:1"}}, "Mode": mode})
        .to_string()
}

#[tokio::test]
async fn jobs_are_shown_as_they_were_asked_for() {
    let client = Client::manager();
    let counted = json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 10}});
    client.post("/services/create", &job("counted", &counted)).await;
    client.post("/services/create", &job("everywhere", &json!({"GlobalJob": {}}))).await;

    let shown = client.get("/services/counted").await;
    assert_eq!(shown["Spec"]["Mode"], counted);
    assert_eq!(shown["JobStatus"]["JobIteration"]["Index"], 0);
    assert!(shown["JobStatus"]["LastExecution"].is_string(), "{shown}");
    assert!(shown["Spec"].get("UpdateConfig").is_none(), "{shown}");
    assert_eq!(client.get("/services/everywhere").await["Spec"]["Mode"], json!({"GlobalJob": {}}));

    let path = "/services?status=true&filters=%7B%22mode%22%3A%5B%22replicated-job%22%5D%7D";
    let listed = client.get(path).await;
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(
        listed[0]["ServiceStatus"],
        json!({"RunningTasks": 0, "DesiredTasks": 2, "CompletedTasks": 0})
    );
}

#[tokio::test]
async fn a_job_that_is_forced_runs_again() {
    let client = Client::manager();
    client.post("/services/create", &job("job", &json!({"ReplicatedJob": {}}))).await;
    let shown = client.get("/services/job").await;
    let mut spec = shown["Spec"].clone();
    spec["TaskTemplate"]["ForceUpdate"] = json!(1);
    let path = format!("/services/job/update?version={}&registryAuthFrom=spec", shown["Version"]["Index"]);
    client.post(&path, &spec.to_string()).await;
    let again = client.get("/services/job").await;
    assert_eq!(again["JobStatus"]["JobIteration"]["Index"], 1);
    assert!(again.get("UpdateStatus").is_none(), "jobs run again rather than being updated: {again}");
}

#[tokio::test]
async fn words_that_an_update_does_not_know_are_refused() {
    let client = Client::manager();
    let body = job("web", &json!({"Replicated": {"Replicas": 1}}));
    client.post("/services/create", &body).await;
    for (query, reason) in [
        ("rollback=back", "invalid value for rollback: \"back\": none or previous is expected"),
        (
            "registryAuthFrom=hub",
            "invalid value for registryAuthFrom: \"hub\": spec or previous-spec is expected",
        ),
    ] {
        let path = format!("/services/web/update?version=3&{query}");
        assert_eq!(client.refusal("POST", &path, &body).await, (400, reason.to_owned()));
    }
}

#[tokio::test]
async fn a_rebalance_leaves_its_mark() {
    let client = Client::manager();
    client.post("/services/create", &job("web", &json!({"Replicated": {"Replicas": 3}}))).await;
    client.post("/services/create", &job("agent", &json!({"Global": {}}))).await;
    assert_eq!(client.ask("POST", "/mesh/v1/services/web/rebalance?parallelism=2", "").await.0, 200);
    let shown = client.get("/services/web").await;
    assert_eq!((&shown["Rebalance"]["Parallelism"], &shown["Rebalance"]["Moved"]), (&json!(2), &json!(0)));
    for (path, status, reason) in [
        ("/mesh/v1/services/agent/rebalance", 400, "rebalance can only be used with replicated mode"),
        ("/mesh/v1/services/web/rebalance?parallelism=0", 400, "must be at least 1"),
        ("/mesh/v1/services/web/rebalance?parallelism=many", 400, "\"many\" is no number"),
        ("/mesh/v1/services/nope/rebalance", 404, "service nope not found"),
    ] {
        let (found, message) = client.refusal("POST", path, "").await;
        assert!(found == status && message.contains(reason), "{path}: {found} {message}");
    }
}

#[tokio::test]
async fn a_service_goes_back_to_its_previous_spec() {
    let client = Client::manager();
    let body =
        |image: &str| job("web", &json!({"Replicated": {"Replicas": 3}})).replace("mesh/whoami:1", image);
    client.post("/services/create", &body("mesh/whoami:1")).await;
    let update = async |query: &str| {
        let version = client.get("/services/web").await["Version"]["Index"].clone();
        client
            .ask("POST", &format!("/services/web/update?version={version}&{query}"), &body("mesh/whoami:2"))
            .await
    };
    assert_eq!(update("rollback=previous").await.0, 400, "there is nothing to go back to");
    assert_eq!(update("rollback=none").await.0, 200);
    assert_eq!(update("rollback=previous").await.0, 200);
    let shown = client.get("/services/web").await;
    let image = |spec: &Value| spec["TaskTemplate"]["ContainerSpec"]["Image"].clone();
    assert_eq!(image(&shown["Spec"]), "mesh/whoami:1", "the spec that is sent along means nothing");
    assert_eq!(image(&shown["PreviousSpec"]), "mesh/whoami:2");
    assert_eq!(shown["UpdateStatus"]["State"], "rollback_started");
    assert_eq!(shown["UpdateStatus"]["Message"], "manually requested rollback");
}
