//! What `meshctl node …` says, word for word.

use super::fake::Fake;

const INFO: &str = r#"{"Swarm":{"NodeID":"n1id","LocalNodeState":"active","ControlAvailable":true}}"#;

const STATUS: &str = r#","ManagerStatus":{"Reachability":"reachable","Addr":"192.0.2.12:2377"}"#;

fn node(role: &str, manager: bool, state: &str) -> String {
    let status = if manager { STATUS } else { "" };
    format!(
        r#"{{"ID":"n2id","Version":{{"Index":4}},"Spec":{{"Role":"{role}","Availability":"active"}},"Status":{{"State":
        "{state}"}}{status}}}"#
    )
    .replace('\n', "")
}

fn put(node: &str) -> String {
    format!("{{\"Type\":\"Put\",\"Index\":5,\"Object\":{{\"Kind\":\"node\",\"Value\":{node}}}}}\n")
}

#[tokio::test]
async fn promote_returns_when_the_node_votes_even_over_a_change_of_the_leader() {
    let (worker, wanted) = (node("worker", false, "ready"), node("manager", false, "ready"));
    let voting = put(&wanted) + &put(&node("manager", true, "ready"));
    let fake = Fake::new(&[
        ("GET /info", 200, INFO),
        ("GET /nodes/n2", 200, &worker),
        ("GET /nodes/n2id", 200, &worker),
        ("POST /nodes/n2id/update", 500, r#"{"message":"update out of sequence"}"#),
        ("POST /nodes/n2id/update", 200, ""),
        // The watch ends before it is so, then nobody leads, then it is so.
        ("GET /mesh/v1/watch", 200, &put(&wanted)),
        ("GET /mesh/v1/watch", 503, r#"{"message":"The swarm does not have a leader."}"#),
        ("GET /mesh/v1/watch", 200, &voting),
    ]);
    assert_eq!(
        fake.says(&["node", "promote", "n2"]).await,
        "waiting until n2 is a manager\nNode n2 promoted to a manager in the swarm.\n"
    );
    let sent = fake.changes();
    assert_eq!(sent.len(), 2, "what the node itself got in between is tried again: {sent:?}");
    assert!(sent[1].contains(r#""Role":"manager""#), "{sent:?}");
}

#[tokio::test]
async fn a_node_that_has_the_role_is_left_alone_and_one_that_is_down_not_waited_for() {
    let (voting, down) = (node("manager", true, "ready"), node("worker", false, "down"));
    let fake = Fake::new(&[
        ("GET /info", 200, INFO),
        ("GET /nodes/n2", 200, &voting),
        ("GET /nodes/n3", 200, &down),
        ("GET /nodes/n2id", 200, &down),
        ("POST /nodes/n2id/update", 200, ""),
    ]);
    assert_eq!(fake.says(&["node", "promote", "n2"]).await, "Node n2 is already a manager.\n");
    assert_eq!(fake.changes(), Vec::<String>::new());
    assert_eq!(
        fake.says(&["node", "promote", "n3"]).await,
        "node n3 is down: it becomes a manager when it is back\nNode n3 promoted to a manager in the swarm.\n"
    );
    assert_eq!(
        fake.says(&["node", "promote", "-d", "n3"]).await,
        "Node n3 promoted to a manager in the swarm.\n"
    );
}

#[tokio::test]
async fn the_asked_manager_demotes_itself() {
    let own = node("manager", true, "ready").replace("n2id", "n1id");
    let worker =
        r#"{"message":"This node is not a swarm manager. Worker nodes can't be used to view or modify cluster
        state."}"#
            .replace('\n', "");
    let fake = Fake::new(&[
        ("GET /info", 200, INFO),
        ("GET /nodes/n1id", 200, &own),
        ("POST /nodes/n1id/update", 200, ""),
        ("GET /mesh/v1/watch", 200, &put(&own)),
        ("GET /mesh/v1/watch", 503, &worker),
    ]);
    assert_eq!(
        fake.says(&["node", "demote", "self"]).await,
        "waiting until self is no manager\nManager self demoted in the swarm.\n"
    );
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let manager = node("manager", true, "ready");
    let refused = |words: &str| format!(r#"{{"message":"{words}"}}"#);
    let last = refused("attempting to demote the last manager of the swarm");
    let quorum = refused("can't remove member from the raft: this would result in a loss of quorum");
    let fake = Fake::new(&[
        ("GET /info", 200, INFO),
        ("GET /nodes/n2", 200, &manager),
        ("GET /nodes/n2id", 200, &manager),
        ("GET /nodes/nope", 404, &refused("node nope not found")),
        ("POST /nodes/n2id/update", 400, &last),
        ("DELETE /nodes/n2", 400, &quorum),
    ]);
    assert_eq!(
        fake.says(&["node", "demote", "nope", "n2"]).await,
        "no such node: nope\nError response from daemon: attempting to demote the last manager of the swarm \
         (promote another node first: `meshctl node promote`)\n"
    );
    assert_eq!(
        fake.says(&["node", "rm", "--force", "n2"]).await,
        "Error response from daemon: can't remove member from the raft: this would result in a loss of quorum \
         (bring managers back that are unreachable, or promote another node first)\n"
    );
}

#[tokio::test]
async fn a_change_that_may_have_been_made_is_looked_for_first() {
    let (before, after) = (node("worker", false, "ready"), node("manager", false, "ready"));
    let unknown =
        r#"{"message":"the manager that leads went away before it answered: it is not known whether this
        was done"}"#
            .replace('\n', "");
    let fake = Fake::new(&[
        ("GET /info", 200, INFO),
        ("GET /nodes/n2", 200, &before),
        ("GET /nodes/n2id", 200, &before),
        ("GET /nodes/n2id", 200, &after),
        ("POST /nodes/n2id/update", 503, &unknown),
    ]);
    let said = fake.says(&["node", "promote", "-d", "n2"]).await;
    assert_eq!(said, "Node n2 promoted to a manager in the swarm.\n");
    assert_eq!(fake.changes().len(), 1);
}
