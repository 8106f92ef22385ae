//! Health decides who gets traffic: a task whose probe fails gets no new connection, one that stays unhealthy is
//! replaced, and what never becomes healthy is never sent to.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Lab, RunningTask};
use crate::ingress::{on, task_ids};
use crate::traffic::{LIMIT, Load, flawless, load, met, whoami};

const INTERVAL: Duration = Duration::from_secs(1);

/// From now on the task's /healthz answers with this status.
fn set_health(lab: &Lab, task: &RunningTask, status: u16) {
    let told = lab.inside_task(task.node, &task.id, || -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 80))?;
        stream.set_read_timeout(Some(LIMIT))?;
        let line = format!("POST /healthz?status={status} HTTP/1.1");
        write!(stream, "{line}\r\nHost: web\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let told = told.unwrap();
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
}

/// Does `work` under 150 requests a second through all nodes, none of which may fail.
fn under_load<T>(lab: &Lab, port: u16, work: impl FnOnce() -> T) -> T {
    let targets: Vec<_> = (1..=3).map(|node| on(node, port)).collect();
    let stop = AtomicBool::new(false);
    let (stop, targets) = (&stop, &targets);
    thread::scope(|scope| {
        let loads: Vec<_> =
            (0..3).map(|_| scope.spawn(move || lab.client(|| load(targets, 50, stop)))).collect();
        // Also when the work fails: the scope would wait for ever.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let loads: Vec<Load> = loads.into_iter().map(|load| load.join().unwrap()).collect();
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        flawless(&loads);
        done
    })
}

/// Asks every node again and again for `span`; how long after the beginning the task was met last.
fn last_met(lab: &Lab, port: u16, task: &str, span: Duration) -> Duration {
    lab.client(|| {
        let (begun, mut last) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < span {
            for node in 1..=3 {
                let asked = begun.elapsed();
                if whoami(on(node, port)).unwrap()["task"] == task {
                    last = asked;
                }
            }
        }
        last
    })
}

/// Waits until every node sends to exactly these tasks.
fn wait_met(lab: &Lab, port: u16, count: usize, includes: &str) {
    for node in 1..=3 {
        let to = on(node, port);
        lab.wait(&format!("n{node} to send to {count} tasks"), || {
            let seen = lab.client(|| met(20 * count, || whoami(to)));
            (seen.len() == count && seen.contains(includes)).then_some(())
        });
    }
}

#[test]
fn a_failing_task_gets_no_new_connections_and_a_healthy_one_gets_them_again() {
    let lab = Lab::up("health", 3);
    let create = "service create --name web --replicas 3 -p 8080:80 --health-interval 1s --health-retries 1000 \
                  mesh/whoami:1";
    lab.ctl(&create.split_whitespace().collect::<Vec<_>>()).ok();
    let all = task_ids(&lab, "web");
    let ps = || lab.ctl(&["service", "ps", "--no-trunc", "web"]).ok();
    let complaint = "health check failed: GET /healthz on port 80: 503 Service Unavailable";
    under_load(&lab, 8080, || {
        for victim in lab.running("web") {
            set_health(&lab, &victim, 503);
            let last = last_met(&lab, 8080, &victim.id, 3 * INTERVAL);
            println!("met for {last:?} after its health was gone");
            assert!(last <= INTERVAL + Duration::from_secs(1), "met {last:?} after its health was gone");
            assert!(ps().contains(complaint), "{}", ps());
            set_health(&lab, &victim, 200);
            wait_met(&lab, 8080, 3, &victim.id);
        }
    });
    assert_eq!(task_ids(&lab, "web"), all, "nothing was replaced");
    assert!(!ps().contains("health check failed"), "{}", ps());
}

#[test]
fn a_task_that_stays_unhealthy_is_replaced_and_one_that_starts_late_is_waited_for() {
    let lab = Lab::up("unwell", 3);
    let create = "service create --name web --replicas 3 -p 8080:80 --health-interval 500ms --health-retries 2 \
                  --restart-delay 0s mesh/whoami:1";
    lab.ctl(&create.split_whitespace().collect::<Vec<_>>()).ok();
    let before = task_ids(&lab, "web");
    let victim = lab.running("web").remove(0);
    under_load(&lab, 8080, || {
        set_health(&lab, &victim, 503);
        let after = lab.wait("the replacement", || {
            let now = task_ids(&lab, "web");
            (now.len() == 3 && !now.contains(&victim.id)).then_some(now)
        });
        assert_eq!(after.intersection(&before).count(), 2, "the others were left alone");
    });
    let listed = lab.ctl(&["service", "ps", "--no-trunc", "web"]).ok();
    assert!(
        listed.contains("unhealthy container (health check failed: GET /healthz on port 80: 503"),
        "{listed}"
    );

    // When the command returns, every node sends to tasks that listen.
    let create = [
        "service",
        "create",
        "--name",
        "late",
        "--replicas",
        "3",
        "-p",
        "8081:80",
        "mesh/whoami:1",
        "--start-delay",
        "2s",
    ];
    let begun = Instant::now();
    lab.ctl(&create).ok();
    assert!(begun.elapsed() >= Duration::from_secs(2), "it was RUNNING before it listened");
    for node in 1..=3 {
        let to = on(node, 8081);
        lab.client(|| met(40, || whoami(to)));
    }
}

#[test]
fn an_update_that_is_never_healthy_ends_as_its_failure_action_says() {
    let lab = Lab::up("sick", 3);
    for (name, port, action, state) in
        [("paused", "8080:80", "pause", "paused"), ("back", "8081:80", "rollback", "rollback_completed")]
    {
        let create = format!(
            "service create --name {name} --replicas 3 -p {port} --update-order start-first --update-failure-action \
             {action} --update-monitor 1s --rollback-monitor 1s --restart-max-attempts 1 --restart-delay 0s \
             --health-start-period 1s --health-interval 500ms --health-retries 2 mesh/whoami:1"
        );
        lab.ctl(&create.split_whitespace().collect::<Vec<_>>()).ok();
        let port: u16 = port[..4].parse().unwrap();
        under_load(&lab, port, || {
            lab.ctl(&[
                "service",
                "update",
                "-d",
                "--image",
                "mesh/whoami:2",
                "--args",
                "--fail-health",
                name,
            ])
            .ok();
            lab.wait("the end of the update", || {
                let service = lab.api(1, &format!("/services/{name}"));
                (service["UpdateStatus"]["State"] == state).then_some(())
            });
        });
        let to = on(1, port);
        let versions =
            lab.client(|| (0..30).map(|_| whoami(to).unwrap()["version"].clone()).collect::<Vec<_>>());
        assert!(versions.iter().all(|version| version == "1"), "{name}: {versions:?}");
        let listed = lab.ctl(&["service", "ps", "--no-trunc", name]).ok();
        assert!(listed.contains("unhealthy container"), "{listed}");
    }
}
