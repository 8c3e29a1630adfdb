//! When what was refused is asked for again.

use super::*;
use crate::time::Mono;

/// The next order there is, when only time passes until then.
fn next_order(engine: &mut Engine, from: u64) -> (u64, Eviction) {
    let mut now = from;
    loop {
        let next = engine.next(at(now));
        assert!(next.evict.len() <= 1, "{next:?}");
        match next.evict.into_iter().next() {
            Some(order) => return (now, order),
            None => now = next.wake.unwrap().0,
        }
    }
}

#[test]
fn a_budget_that_refuses_is_asked_again_after_a_sixteenth_of_the_time_it_is_shut() {
    let mut engine = begun(&pods(1));
    let mut asked = Vec::new();
    let mut now = 0;
    while now < 400_000 {
        let (when, order) = next_order(&mut engine, now);
        engine.answer(at(when), &order.uid, blocked());
        asked.push(when);
        now = when;
    }
    let pauses: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().zip(&asked).all(|(pause, shut)| *pause == (shut / 16).clamp(1_000, 10_000)));
    assert_eq!((asked[1], *pauses.last().unwrap()), (1_000, 10_000));
}

#[test]
fn of_the_pods_of_a_budget_that_refuses_one_asks_for_all_in_turn() {
    let mut engine = begun(&pods(3));
    for order in engine.next(at(0)).evict {
        engine.answer(at(1), &order.uid, blocked());
    }
    let mut now = 1;
    for name in ["p000", "p001", "p002", "p000"] {
        let (when, order) = next_order(&mut engine, now);
        assert_eq!((when, order.name.as_str()), (now + 1_000, name));
        engine.answer(at(when), &order.uid, blocked());
        now = when;
    }
}

#[test]
fn the_next_pod_asks_as_soon_as_its_budget_lets_one_go() {
    let mut engine = begun(&pods(4));
    for order in engine.next(at(0)).evict {
        engine.answer(at(0), &order.uid, blocked());
    }
    assert_eq!(names(&engine.next(at(1_000))), ["p000"]);
    engine.answer(at(1_020), "uid-p000", EvictionResponse::Accepted);
    assert_eq!(names(&engine.next(at(1_020))), ["p001"]);
    engine.answer(at(1_040), "uid-p001", EvictionResponse::Accepted);
    assert_eq!(names(&engine.next(at(1_040))), ["p002"]);
    engine.answer(at(1_060), "uid-p002", blocked());
    let waiting = engine.next(at(1_060));
    assert_eq!((waiting.evict.len(), waiting.wake), (0, Some(Mono(2_060))), "as at its first refusal");
}

#[test]
fn once_a_budget_refuses_a_pod_those_of_its_controller_that_were_not_tried_wait_for_their_turn() {
    let mut engine = begun(&pods(40));
    let wave = engine.next(at(0)).evict;
    engine.answer(at(5), &wave[0].uid, blocked());
    assert_eq!(names(&engine.next(at(5))), Vec::<&str>::new());
    for order in &wave[1..] {
        engine.answer(at(6), &order.uid, blocked());
    }
    assert_eq!(names(&engine.next(at(1_006))), ["p016"], "one that was not tried is the next to ask");
    engine.answer(at(1_010), "uid-p016", EvictionResponse::Accepted);
    assert_eq!(names(&engine.next(at(1_010))), ["p017"]);
}

#[test]
fn budgets_are_asked_apart_from_each_other() {
    let mut engine = begun(&pods(2));
    engine.next(at(0));
    let by = |budget: &str| EvictionResponse::Blocked {
        budget: Some(budget.to_owned()),
        message: "needs 2 pods".to_owned(),
        retry_after: None,
    };
    engine.answer(at(0), "uid-p000", by("one"));
    engine.answer(at(0), "uid-p001", by("two"));
    assert_eq!(names(&engine.next(at(1_000))), ["p000", "p001"]);
}

#[test]
fn pods_that_are_not_ready_do_not_wait_for_the_turn_of_those_that_are() {
    let mut engine =
        begun(&[PodSeen { ready: true, ..pod("a") }, PodSeen { ready: true, ..pod("b") }, pod("c")]);
    for order in engine.next(at(0)).evict {
        engine.answer(at(0), &order.uid, blocked());
    }
    assert_eq!(names(&engine.next(at(1_000))), ["a", "c"]);
}

#[test]
fn what_no_budget_refuses_is_tried_again_ever_more_seldom() {
    for answer in [
        EvictionResponse::Failed("no".to_owned()),
        EvictionResponse::Busy { retry_after: None },
        EvictionResponse::Blocked { budget: None, message: "two budgets".to_owned(), retry_after: None },
    ] {
        let mut engine = begun(&pods(1));
        let mut now = 0;
        for pause in [5, 10, 20, 30, 30] {
            assert_eq!(names(&engine.next(at(now))), ["p000"]);
            engine.answer(at(now), "uid-p000", answer.clone());
            assert_eq!(engine.next(at(now + pause * 1000 - 1)).evict, []);
            now += pause * 1000;
        }
    }
}

#[test]
fn the_servers_own_pause_counts_where_it_is_longer() {
    for (retry_after, shortest) in [(None, 0), (Some(500), 0), (Some(10_000), 10_000)] {
        let retry_after = retry_after.map(Duration::from_millis);
        for (answer, pause) in [
            (
                EvictionResponse::Blocked {
                    budget: Some("web".to_owned()),
                    message: "wait".to_owned(),
                    retry_after,
                },
                1_000,
            ),
            (
                EvictionResponse::Blocked { budget: None, message: "two budgets".to_owned(), retry_after },
                5_000,
            ),
            (EvictionResponse::Busy { retry_after }, 5_000),
        ] {
            let pause = pause.max(shortest);
            let mut engine = begun(&pods(1));
            engine.next(at(0));
            engine.answer(at(0), "uid-p000", answer);
            let waiting = engine.next(at(0));
            assert_eq!((waiting.evict.len(), waiting.wake), (0, Some(Mono(pause))));
            assert_eq!(names(&engine.next(at(pause))), ["p000"]);
        }
    }
}
