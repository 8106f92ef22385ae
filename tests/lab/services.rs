//! Services as an operator works with them, and what the commands say: updates and the way back, jobs, several at
//! once, tasks spread anew.

use std::collections::BTreeMap;

use crate::harness::{Lab, Ran};

const NODES: u8 = 3;

fn inspect(lab: &Lab, service: &str, template: &str) -> String {
    lab.ctl(&["service", "inspect", "--format", template, service]).ok().trim_end().to_owned()
}

/// The images of the tasks that run.
fn images(lab: &Lab, service: &str) -> BTreeMap<String, usize> {
    let mut images = BTreeMap::new();
    for task in lab.running(service) {
        let image = task.value["Spec"]["ContainerSpec"]["Image"].as_str().unwrap().to_owned();
        *images.entry(image).or_default() += 1;
    }
    images
}

/// Lines of a command's progress.
fn progress(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().collect()
}

#[track_caller]
fn fails_with(ran: &Ran, words: &str) {
    assert_eq!(ran.code, 1, "{ran:?}");
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with(words), "{words:?} was not said last: {ran:?}");
}

#[test]
fn a_service_is_updated_and_taken_back() {
    let lab = Lab::up("services", NODES);
    lab.ctl(&["service", "create", "--name", "web", "--replicas", "3", "mesh/whoami:1"]).ok();

    let updated = lab.ctl(&["service", "update", "--image", "mesh/whoami:2", "web"]);
    assert_eq!((updated.code, updated.stdout.as_str()), (0, "web\n"), "{updated:?}");
    let said = progress(&updated);
    assert!(said.contains(&"overall progress: 3 out of 3 tasks"), "{said:?}");
    assert_eq!(said.last(), Some(&"verify: Service converged"));
    assert_eq!(images(&lab, "web"), [("mesh/whoami:2".to_owned(), 3)].into());
    let tasks = lab.ctl(&["service", "ps", "web"]).ok();
    assert_eq!(tasks.lines().filter(|line| line.contains(" \\_ web.")).count(), 3, "{tasks}");
    let names =
        lab.ctl(&["service", "ps", "-f", "desired-state=running", "--format", "{{.Name}}", "web"]).ok();
    assert_eq!(names, "web.1\nweb.2\nweb.3\n");
    lab.wait("the update to be over", || {
        (inspect(&lab, "web", "{{.UpdateStatus.State}}") == "completed").then_some(())
    });
    let page = lab.ctl(&["service", "inspect", "--pretty", "web"]).ok();
    assert!(page.contains("\n Message:\tupdate completed\nPlacement:\n"), "{page}");

    let back = lab.ctl(&["service", "rollback", "web"]);
    assert_eq!((back.code, back.stdout.as_str()), (0, "web\n"), "{back:?}");
    let said = progress(&back);
    assert!(said.contains(&"rollback: manually requested rollback"), "{said:?}");
    assert!(said.contains(&"overall progress: rolling back update: 3 out of 3 tasks"), "{said:?}");
    assert_eq!(images(&lab, "web"), [("mesh/whoami:1".to_owned(), 3)].into());
}

#[test]
fn an_update_that_fails_is_a_command_that_fails() {
    let lab = Lab::up("failing", NODES);
    lab.ctl(&["service", "create", "--name", "web", "--replicas", "3", "mesh/whoami:1"]).ok();

    let paused = lab.ctl(&["service", "update", "--image", "mesh/nothing:1", "web"]);
    fails_with(&paused, "service update paused: update paused due to failure or early termination of task ");
    assert!(paused.stderr.contains("mesh/nothing:1"), "what failed is said: {paused:?}");
    assert_eq!(images(&lab, "web"), [("mesh/whoami:1".to_owned(), 2)].into(), "the others serve on");
    let tasks = lab.ctl(&["service", "ps", "--no-trunc", "web"]).ok();
    assert!(
        tasks.lines().any(|line| line.contains("Rejected") && line.contains("No such image: mesh/nothing:1")),
        "{tasks}"
    );

    let flags = ["--update-failure-action", "rollback", "--image", "mesh/whoami:1"];
    lab.ctl(&[&["service", "update"], &flags[..], &["web"]].concat()).ok();
    assert_eq!(images(&lab, "web"), [("mesh/whoami:1".to_owned(), 3)].into());
    let rolled = lab.ctl(&["service", "update", "--image", "mesh/nothing:1", "web"]);
    fails_with(
        &rolled,
        "service rolled back: update rolled back due to failure or early termination of task ",
    );
    assert_eq!(images(&lab, "web"), [("mesh/whoami:1".to_owned(), 3)].into());
    assert_eq!(inspect(&lab, "web", "{{.Spec.TaskTemplate.ContainerSpec.Image}}"), "mesh/whoami:1");
}

#[test]
fn jobs_run_to_their_end_and_again() {
    let lab = Lab::up("jobs", NODES);
    let ends = ["mesh/whoami:1", "--exit-after", "100ms", "--exit-code", "0"];
    let counted = ["--mode", "replicated-job", "--replicas", "4", "--max-concurrent", "2"];
    let made = lab.ctl(&[&["service", "create", "--name", "job"], &counted[..], &ends].concat());
    assert_eq!(made.code, 0, "{made:?}");
    let said = progress(&made);
    assert!(said.contains(&"job progress: 4 out of 4 complete"), "{said:?}");
    assert_eq!(said.last(), Some(&"job complete"));
    let row = lab.ctl(&["service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}}"]).ok();
    assert_eq!(row, "job replicated job 0/2 (4/4 completed)\n");

    let again = lab.ctl(&["service", "update", "--force", "job"]);
    assert_eq!((again.code, progress(&again).last()), (0, Some(&"job complete")), "{again:?}");
    assert_eq!(inspect(&lab, "job", "{{.JobStatus.JobIteration.Index}}"), "1");

    let everywhere =
        lab.ctl(&[&["service", "create", "--name", "once", "--mode", "global-job"], &ends[..]].concat());
    assert_eq!(everywhere.code, 0, "{everywhere:?}");
    assert!(progress(&everywhere).contains(&"job progress: 3 out of 3 complete"), "{everywhere:?}");
}

#[test]
fn several_services_are_scaled_at_once_and_spread_anew_when_asked() {
    let lab = Lab::up("scaling", NODES);
    let id = lab.ctl(&["service", "create", "-q", "mesh/whoami:1"]).ok();
    let name = inspect(&lab, id.trim(), "{{.Spec.Name}}");
    assert!(name.contains('_'), "a random name: {name}");
    lab.ctl(&["node", "update", "--availability", "drain", "n3"]).ok();
    lab.ctl(&["service", "create", "--name", "web", "mesh/whoami:1"]).ok();

    let scaled = lab.ctl(&["service", "scale", "web=6", "nope=2", &format!("{name}=0")]);
    assert_eq!(scaled.code, 1);
    assert_eq!(scaled.stdout, format!("web scaled to 6\n{name} scaled to 0\n"));
    assert!(scaled.stderr.contains("nope: no such service: nope\n"), "{scaled:?}");
    assert_eq!((lab.running("web").len(), lab.running(&name).len()), (6, 0));

    lab.ctl(&["node", "update", "--availability", "active", "n3"]).ok();
    let rebalanced = lab.ctl(&["service", "rebalance", "--parallelism", "2", "web"]);
    assert_eq!((rebalanced.code, rebalanced.stdout.as_str()), (0, "web\n"), "{rebalanced:?}");
    let mut counts = BTreeMap::new();
    for task in lab.running("web") {
        *counts.entry(task.node).or_insert(0) += 1;
    }
    assert_eq!(counts, [(1, 2), (2, 2), (3, 2)].into(), "{rebalanced:?}");
}
