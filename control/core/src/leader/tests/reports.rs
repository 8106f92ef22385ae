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
        assert_eq!(actions.close == [session], closed, "node {number} over {session}");
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

#[test]
fn an_exit_is_kept_with_its_container() {
    let (mut leader, mut store, mut entropy, now, task) = with_task();
    let mut status = task.status.clone();
    status.state = TaskState::Failed;
    status.err = "task: non-zero exit (137)".to_owned();
    status.container =
        Some(crate::object::ContainerStatus { container_id: "c".repeat(64), pid: 0, exit_code: Some(137) });
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
