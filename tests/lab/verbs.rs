//! What `meshctl lab` itself promises, beside what the other tests do with it.

use crate::failover::whole;
use crate::harness::Lab;

#[test]
fn a_lab_grows_and_a_node_may_lose_its_disk() {
    let lab = Lab::up("verbs", 1);
    assert_eq!(lab.lab(&["add"]).ok(), "n2\n");
    let is = |state: &str| {
        lab.wait(&format!("n2 to be {state}"), || {
            (lab.api(2, "/info")["Swarm"]["LocalNodeState"] == state).then_some(())
        });
    };
    is("active");

    let refused = lab.lab(&["fault", "wipe", "n2"]);
    assert_eq!(refused.code, 1);
    assert_eq!(
        refused.stderr.trim(),
        "n2 is running: `meshctl lab fault crash n2` lets go of its disk first"
    );
    lab.fault(&["crash", "n2"]);
    lab.fault(&["start", "n2"]);
    is("active");
    lab.fault(&["crash", "n2"]);
    lab.fault(&["wipe", "n2"]);
    lab.fault(&["start", "n2"]);
    is("inactive");

    assert_eq!(lab.lab(&["add", "--manager"]).ok(), "n3\n");
    let nodes = lab.cluster("/nodes");
    let managers = nodes.as_array().unwrap().iter().filter(|node| node["ManagerStatus"]["Addr"].is_string());
    assert_eq!(managers.count(), 2);
    assert!(whole(&lab, 1), "n1 sees itself lead");
}
