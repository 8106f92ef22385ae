//! What agents say of their tasks.

use super::*;

#[test]
fn reports_move_tasks_forward_only() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let cases = [
        (TaskState::Preparing, "pulling", TaskState::Preparing),
        (TaskState::Accepted, "late", TaskState::Preparing),
        (TaskState::Preparing, "pulled", TaskState::Preparing),
        (TaskState::New, "forged", TaskState::Preparing),
        (TaskState::Orphaned, "forged", TaskState::Preparing),
        (TaskState::Remove, "forged", TaskState::Preparing),
        (TaskState::Running, "started", TaskState::Running),
        (TaskState::Starting, "late", TaskState::Running),
        (TaskState::Failed, "crashed", TaskState::Failed),
        (TaskState::Rejected, "late", TaskState::Failed),
        (TaskState::Running, "late", TaskState::Failed),
    ];
    for (reported, message, expected) in cases {
        let actions = leader.step(report(&task, 7, reported, message), now, &mut entropy);
        settle(&mut leader, &mut store, actions, now, &mut entropy);
        let status = store.task(task.id).unwrap().status.clone();
        assert_eq!(status.state, expected, "after {reported} {message}");
        assert_eq!(
            status.message == message,
            !message.starts_with("late") && message != "forged",
            "{message}"
        );
    }
}

#[test]
fn a_report_that_says_nothing_new_is_not_written() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    for _ in 0..3 {
        let actions = leader.step(report(&task, 7, TaskState::Running, "started"), now, &mut entropy);
        settle(&mut leader, &mut store, actions, now, &mut entropy);
    }
    assert_eq!(store.task(task.id).unwrap().meta.version, task.meta.version + 1);
}

#[test]
fn reports_wait_for_the_batch_that_is_on_its_way() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let batch = leader.step(report(&task, 7, TaskState::Preparing, ""), now, &mut entropy);
    for state in [TaskState::Ready, TaskState::Starting, TaskState::Running] {
        assert!(leader.step(report(&task, 7, state, ""), now, &mut entropy).propose.is_empty());
    }
    settle(&mut leader, &mut store, batch, now, &mut entropy);
    let task = store.task(task.id).unwrap();
    assert_eq!(task.status.state, TaskState::Running);
}

#[test]
fn only_a_nodes_own_tasks_over_its_own_session_are_believed() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let joined = command::join_node(&store, join_request(2), now).unwrap();
    let actions = commit(&mut leader, &mut store, &joined, now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    let actions = leader.step(opened(2, 8), now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    let Event::Statuses { statuses, .. } = report(&task, 0, TaskState::Failed, "") else { unreachable!() };
    for (number, session, closed) in [(2, 8, false), (2, 7, true), (1, 8, true), (1, 9, true), (3, 7, true)] {
        let session = SessionId::from_bits(session);
        let event = Event::Statuses { node: node(number), session, number: 1, statuses: statuses.clone() };
        let actions = leader.step(event, now, &mut entropy);
        assert_eq!(actions.close == [(session, SessionEnd::Unknown)], closed, "node {number} over {session}");
        settle(&mut leader, &mut store, actions, now, &mut entropy);
        assert_eq!(store.task(task.id).unwrap().status.state, TaskState::Assigned);
    }
    let unknown = (TaskId::from_bits(404), task.status.clone());
    let event = Event::Statuses {
        node: node(1),
        session: SessionId::from_bits(7),
        number: 1,
        statuses: vec![unknown],
    };
    assert!(leader.step(event, now, &mut entropy).propose.is_empty());
}

#[test]
fn texts_of_agents_are_cut() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let actions = leader.step(report(&task, 7, TaskState::Running, &"é".repeat(2000)), now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    assert_eq!(store.task(task.id).unwrap().status.message.len(), 1024);
}

#[test]
fn reports_of_a_lost_batch_are_written_by_the_next() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let batch = leader.step(report(&task, 7, TaskState::Running, "started"), now, &mut entropy);
    assert_eq!(batch.propose.len(), 1);
    let lost = leader.step(Event::Settled { index: None }, now, &mut entropy);
    let again = leader.step(Event::Wake, lost.wake_at.unwrap(), &mut entropy);
    settle(&mut leader, &mut store, again, now, &mut entropy);
    assert_eq!(store.task(task.id).unwrap().status.state, TaskState::Running);
}

/// A report over node 1's session, with its number.
fn numbered(task: &Task, number: u64, state: TaskState) -> Event {
    let Event::Statuses { node, session, statuses, .. } = report(task, 7, state, "") else { unreachable!() };
    Event::Statuses { node, session, number, statuses }
}

const SEVEN: SessionId = SessionId::from_bits(7);

#[test]
fn a_report_is_taken_when_it_is_committed_and_not_before() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let batch = leader.step(numbered(&task, 1, TaskState::Running), now, &mut entropy);
    assert_eq!((batch.propose.len(), batch.taken), (1, vec![]));
    let lost = leader.step(Event::Settled { index: None }, now, &mut entropy);
    assert_eq!(lost.taken, [], "it was lost");
    let again = leader.step(Event::Wake, lost.wake_at.unwrap(), &mut entropy);
    assert_eq!((again.propose.len(), again.taken), (1, vec![]));
    let index = store.index() + 1;
    let settled = leader.step(Event::Settled { index: Some(index) }, now, &mut entropy);
    assert_eq!(settled.taken, [], "the store does not have it yet");
    let changes = store.apply(index, &again.propose[0]).unwrap();
    let committed = leader.step(Event::Committed { index, changes }, now, &mut entropy);
    assert_eq!(committed.taken, [(SEVEN, 1)]);
    assert_eq!(leader.step(Event::Wake, now, &mut entropy).taken, [], "once");
}

#[test]
fn a_report_that_says_nothing_new_is_taken_at_once() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let actions = leader.step(numbered(&task, 1, TaskState::Running), now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    let known = leader.step(numbered(&task, 2, TaskState::Running), now, &mut entropy);
    assert_eq!((known.propose.len(), known.taken), (0, vec![(SEVEN, 2)]));
    let obsolete = leader.step(numbered(&task, 3, TaskState::Preparing), now, &mut entropy);
    assert_eq!((obsolete.propose.len(), obsolete.taken), (0, vec![(SEVEN, 3)]));
    let mut unknown = task.clone();
    unknown.id = TaskId::from_bits(404);
    let unknown = leader.step(numbered(&unknown, 4, TaskState::Running), now, &mut entropy);
    assert_eq!((unknown.propose.len(), unknown.taken), (0, vec![(SEVEN, 4)]));
    let nothing = Event::Statuses { node: node(1), session: SEVEN, number: 5, statuses: Vec::new() };
    assert_eq!(leader.step(nothing, now, &mut entropy).taken, [(SEVEN, 5)]);
}

#[test]
fn reports_are_taken_in_their_order() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let batch = leader.step(numbered(&task, 1, TaskState::Preparing), now, &mut entropy);
    // The next waits for the batch that is on its way; the one after it has nothing to wait for but those before.
    let next = leader.step(numbered(&task, 2, TaskState::Running), now, &mut entropy);
    let nothing = Event::Statuses { node: node(1), session: SEVEN, number: 3, statuses: Vec::new() };
    let last = leader.step(nothing, now, &mut entropy);
    assert_eq!((next.taken, last.taken), (vec![], vec![]));
    let mut taken = Vec::new();
    let mut batches = std::collections::VecDeque::from(batch.propose);
    while let Some(transaction) = batches.pop_front() {
        let index = store.index() + 1;
        let changes = store.apply(index, &transaction).unwrap();
        for event in [Event::Committed { index, changes }, Event::Settled { index: Some(index) }] {
            let actions = leader.step(event, now, &mut entropy);
            batches.extend(actions.propose);
            let running = store.task(task.id).unwrap().status.state == TaskState::Running;
            assert!(running || actions.taken.iter().all(|(_, number)| *number < 2), "{:?}", actions.taken);
            taken.extend(actions.taken);
        }
    }
    assert_eq!(taken, [(SEVEN, 3)], "what an older one says counts with the newer");
}

#[test]
fn a_session_that_ended_is_told_nothing() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let batch = leader.step(numbered(&task, 1, TaskState::Running), now, &mut entropy);
    leader.step(opened(1, 8), now, &mut entropy);
    let index = store.index() + 1;
    let changes = store.apply(index, &batch.propose[0]).unwrap();
    let committed = leader.step(Event::Committed { index, changes }, now, &mut entropy);
    assert_eq!(committed.taken, []);
    assert_eq!(store.task(task.id).unwrap().status.state, TaskState::Running, "it is kept all the same");
}

#[test]
fn what_was_lost_with_a_leader_is_said_again() {
    let mut cluster = VirtualCluster::new(2, 1);
    cluster.behave(crate::testing::Behaviour { step: Duration::from_millis(50), ..Default::default() });
    let service = cluster.create_service(service_spec("web", 8)).unwrap();
    // A leader ends each time just after reports came in, and before they are committed. The tasks run before the
    // third does, so from then on all that is said was said before.
    for lost in 0..8 {
        let reported = cluster.run_until(SOON, |cluster| cluster.unsaid() > 0);
        reported.unwrap_or_else(|| panic!("nothing is said any more, after {lost} losses"));
        let before = cluster.store.digest();
        cluster.new_leader();
        cluster.run_for(Duration::from_millis(200));
        assert_eq!(cluster.store.digest(), before, "nothing of it is in the store");
    }
    cluster.run_for(SOON);
    assert_eq!(cluster.running(service), 8);
    assert_eq!(cluster.unsaid(), 0);
}

#[test]
fn what_is_lost_on_its_way_into_the_log_gets_there_all_the_same() {
    let mut cluster = VirtualCluster::new(3, 4);
    cluster.loss = 60;
    let service = cluster.create_service(service_spec("web", 9)).unwrap();
    for number in [1, 2, 3, 1, 2] {
        cluster.run_for(Duration::from_millis(300));
        cluster.silence(node(number));
        cluster.run_for(Duration::from_millis(300));
        cluster.resume(node(number));
    }
    cluster.loss = 0;
    cluster.run_for(secs(5));
    assert_eq!(cluster.running(service), 9);
    assert_eq!(cluster.unsaid(), 0, "and all of it was taken");
}

#[test]
fn an_exit_is_kept_with_its_container() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let mut status = task.status.clone();
    status.state = TaskState::Failed;
    status.err = "task: non-zero exit (137)".to_owned();
    status.container = Some(crate::object::ContainerStatus {
        container_id: "c".repeat(64),
        exit_code: Some(137),
        ..crate::object::ContainerStatus::default()
    });
    let session = SessionId::from_bits(7);
    let event =
        Event::Statuses { node: node(1), session, number: 1, statuses: vec![(task.id, status.clone())] };
    let actions = leader.step(event, now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    assert_eq!(store.task(task.id).unwrap().status, status);
    assert_eq!(store.slot_tasks(task.service, 1).count(), 2, "and the replacement is there");
}

#[test]
fn of_several_reports_the_furthest_counts() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let states = [TaskState::Running, TaskState::Preparing, TaskState::Failed, TaskState::Running];
    let statuses = states.map(|state| {
        let mut seen = task.status.clone();
        seen.state = state;
        (task.id, seen)
    });
    let session = SessionId::from_bits(7);
    let event = Event::Statuses { node: node(1), session, number: 1, statuses: statuses.to_vec() };
    let actions = leader.step(event, now, &mut entropy);
    settle(&mut leader, &mut store, actions, now, &mut entropy);
    assert_eq!(store.task(task.id).unwrap().status.state, TaskState::Failed);
}
