//! What `meshctl service …` says, word for word.

use super::fake::Fake;

/// A service in the middle of `update`, which is JSON or nothing.
fn service(update: &str) -> String {
    let update = if update.is_empty() { String::new() } else { format!(r#","UpdateStatus":{update}"#) };
    format!(
        r#"{{"ID":"s1","Version":{{"Index":7}},"Spec":{{"Name":"web","TaskTemplate":{{"ContainerSpec":{{"Image":"a:1"}},"ForceUpdate":0}},"Mode":{{"Replicated":{{"Replicas":1}}}}}}{update}}}"#
    )
}

fn update(state: &str, message: &str) -> String {
    format!(r#"{{"State":"{state}","StartedAt":"2026-01-01T00:00:00Z","Message":"{message}"}}"#)
}

fn put(kind: &str, value: &str) -> String {
    format!("{{\"Type\":\"Put\",\"Index\":5,\"Object\":{{\"Kind\":\"{kind}\",\"Value\":{value}}}}}\n")
}

fn task(state: &str, error: &str) -> String {
    put(
        "task",
        &format!(
            r#"{{"ID":"t1","Slot":1,"NodeID":"n1","CreatedAt":"2026-01-01T00:00:00Z","DesiredState":"running","Status":{{"State":"{state}","Err":"{error}"}}}}"#
        ),
    )
}

const SYNCED: &str = "{\"Type\":\"Synced\",\"Index\":5,\"Present\":[\"s1\",\"t1\"]}\n";

const SETTLED: (&str, u16, &str) = ("GET /mesh/v1/settled", 200, r#"{"Settled":true,"Index":5}"#);

#[tokio::test]
async fn create_says_what_keeps_a_task_until_it_runs() {
    let watch = put("service", &service(""))
        + SYNCED
        + &task("new", "")
        + &task("pending", "no suitable node (1 node not available for new tasks)")
        + &task("pending", "no suitable node (1 node not available for new tasks)")
        + &task("preparing", "")
        + &task("running", "");
    let fake = Fake::new(&[
        ("POST /services/create", 201, r#"{"ID":"s1"}"#),
        ("GET /mesh/v1/watch", 200, &watch),
        SETTLED,
    ]);
    assert_eq!(
        fake.says(&["service", "create", "mesh/whoami:1"]).await,
        "s1\noverall progress: 0 out of 1 tasks\n1/1: no suitable node (1 node not available for new tasks)\n\
         overall progress: 1 out of 1 tasks\nverify: Service converged\n"
    );
    let sent = fake.changes();
    assert!(sent[0].starts_with(r#"POST /services/create {"Name":"","#), "the daemon draws a name: {sent:?}");
    assert_eq!(fake.says(&["service", "create", "-q", "mesh/whoami:1"]).await, "s1\n");
    assert_eq!(fake.says(&["service", "create", "-d", "mesh/whoami:1"]).await, "s1\n");
}

#[tokio::test]
async fn a_service_that_is_removed_meanwhile_is_named() {
    let watch = put("service", &service(""))
        + SYNCED
        + "{\"Type\":\"Delete\",\"Index\":6,\"Kind\":\"service\",\"ID\":\"s1\"}\n";
    let fake =
        Fake::new(&[("POST /services/create", 201, r#"{"ID":"s1"}"#), ("GET /mesh/v1/watch", 200, &watch)]);
    assert_eq!(
        fake.says(&["service", "create", "--name", "web", "mesh/whoami:1"]).await,
        "s1\noverall progress: 0 out of 1 tasks\nno such service: web\n"
    );
}

#[tokio::test]
async fn an_update_that_stops_or_goes_back_is_told_as_a_failure() {
    let paused = "update paused due to failure or early termination of task t2";
    let rolled = "update rolled back due to failure or early termination of task t2";
    for (state, message, last) in [
        ("paused", paused, format!("service update paused: {paused}\n")),
        (
            "rollback_started",
            rolled,
            format!(
                "rollback: {rolled}\noverall progress: rolling back update: 0 out of 1 tasks\noverall progress: \
                 rolling back update: 1 out of 1 tasks\nservice rolled back: {rolled}\n"
            ),
        ),
    ] {
        let under_way = put("service", &service(&update("updating", "update in progress")));
        let stopped = put("service", &service(&update(state, message)));
        let watch =
            under_way + SYNCED + &task("rejected", "No such image: a:2") + &stopped + &task("running", "");
        let fake = Fake::new(&[
            ("GET /services/web", 200, &service("")),
            ("POST /services/s1/update", 200, "{}"),
            ("GET /mesh/v1/watch", 200, &watch),
            SETTLED,
        ]);
        let said = fake.says(&["service", "update", "--image", "a:2", "web"]).await;
        let begin = "web\noverall progress: 0 out of 1 tasks\n1/1: No such image: a:2\n";
        let rest = said.strip_prefix(begin).unwrap_or_else(|| panic!("{said}"));
        assert!(rest.ends_with(&last), "{state}: {said}");
        let sent = fake.changes();
        assert!(
            sent[0].starts_with("POST /services/s1/update?version=7 ") && sent[0].contains("a:2"),
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn a_rollback_is_asked_for_by_either_command() {
    let begun = update("rollback_started", "manually requested rollback").replace("00:00:00Z", "00:00:09Z");
    let back = put("service", &service(&begun));
    let fake = Fake::new(&[
        ("GET /services/web", 200, &service(&update("paused", "update paused"))),
        ("POST /services/s1/update", 200, "{}"),
        ("GET /mesh/v1/watch", 200, &(back + SYNCED + &task("running", ""))),
        SETTLED,
    ]);
    for words in [&["service", "rollback", "web"][..], &["service", "update", "--rollback", "web"]] {
        assert_eq!(
            fake.says(words).await,
            "web\nrollback: manually requested rollback\noverall progress: rolling back update: 0 out of 1 tasks\n\
             overall progress: rolling back update: 1 out of 1 tasks\nverify: Service converged\n"
        );
        assert!(fake.changes()[0].starts_with("POST /services/s1/update?version=7&rollback=previous "));
    }
    assert_eq!(
        fake.says(&["service", "update", "--rollback", "--image", "a:2", "web"]).await,
        "other flags may not be combined with --rollback\n"
    );
    assert_eq!(fake.changes(), Vec::<String>::new());
}

#[tokio::test]
async fn an_update_that_stopped_before_does_not_fail_the_next_command() {
    let paused = service(&update("paused", "update paused"));
    let fake = Fake::new(&[
        ("GET /services/web", 200, &paused),
        ("GET /services/nope", 404, r#"{"message":"service nope not found"}"#),
        ("POST /services/s1/update", 200, "{}"),
        ("GET /mesh/v1/watch", 200, &(put("service", &paused) + SYNCED + &task("running", ""))),
        SETTLED,
    ]);
    assert_eq!(
        fake.says(&["service", "scale", "nope=2", "web=1"]).await,
        "nope: no such service: nope\nweb scaled to 1\noverall progress: 0 out of 1 tasks\noverall progress: 1 out \
         of 1 tasks\nverify: Service converged\n"
    );
}

#[tokio::test]
async fn a_job_is_waited_for_to_its_end() {
    let job = service("").replace(
        r#"{"Replicated":{"Replicas":1}}}"#,
        r#"{"ReplicatedJob":{"MaxConcurrent":1,"TotalCompletions":1}}},"JobStatus":{"JobIteration":{"Index":0}}"#,
    );
    let of_run =
        |state: &str| task(state, "").replace(r#""Slot":1"#, r#""Slot":1,"JobIteration":{"Index":0}"#);
    let watch = put("service", &job) + SYNCED + &of_run("running") + &of_run("complete");
    let fake = Fake::new(&[
        ("POST /services/create", 201, r#"{"ID":"s1"}"#),
        ("GET /mesh/v1/watch", 200, &watch),
        SETTLED,
    ]);
    assert_eq!(
        fake.says(&["service", "create", "--mode", "replicated-job", "mesh/whoami:1"]).await,
        "s1\njob progress: 0 out of 1 complete\nactive tasks: 0 out of 1 tasks\nactive tasks: 1 out of 1 tasks\n\
         job progress: 1 out of 1 complete\nactive tasks: 0 out of 0 tasks\njob complete\n"
    );
    assert!(fake.changes()[0].contains(r#""Mode":{"ReplicatedJob":{}}"#));
}

#[tokio::test]
async fn nobody_at_the_socket_is_one_line() {
    let fake = Fake::new(&[]);
    fake.goes_away();
    let said = fake.says(&["service", "create", "mesh/whoami:1"]).await;
    assert!(said.starts_with("Cannot connect to the meshd socket at unix://"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
