use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn desired(name: &'static str, depends_on: &[&'static str]) -> Desired<'static, &'static str> {
    Desired {
        name,
        dir: name.as_bytes(),
        version: b"1.0.0",
        source: b"source",
        env: b"env",
        isolation: Isolation::Embedded,
        depends_on: depends_on.to_vec(),
    }
}

fn current(name: &'static str, depends_on: &[&'static str]) -> Current<'static, &'static str> {
    running(&desired(name, depends_on))
}

fn running<'a, N: Name>(app: &Desired<'a, N>) -> Current<'a, N> {
    Current {
        name: app.name,
        dir: Some(app.dir),
        running: true,
        version: Some(app.version),
        source: Some(app.source),
        env: Some(app.env),
        isolation: app.isolation,
        depends_on: app.depends_on.clone(),
        notes: Notes::default(),
    }
}

fn names(plan: &Plan<'_, &'static str>) -> Vec<(ActionKind, &'static str, u32)> {
    plan.actions
        .iter()
        .map(|action| (action.kind, action.name, action.wave))
        .collect()
}

fn of<'p>(
    plan: &'p Plan<'static, &'static str>,
    name: &str,
) -> &'p BlockReason<'static, &'static str> {
    &plan
        .blocked
        .iter()
        .find(|(blocked, _)| *blocked == name)
        .unwrap()
        .1
}

use ActionKind::{Deploy, Reconfigure, Remove, Upgrade};

#[test]
fn dependencies_are_deployed_first() {
    let apps = [
        desired("c", &["b", "a"]),
        desired("b", &["a"]),
        desired("a", &[]),
    ];
    let plan = plan(&apps, &[], &Options::default());
    assert_eq!(
        names(&plan),
        [(Deploy, "a", 1), (Deploy, "b", 2), (Deploy, "c", 3)]
    );
    assert_eq!(plan.actions[2].after, ["b", "a"]);
    assert_eq!(plan.actions[0].reasons, [Reason::Absent]);
}

#[test]
fn dependents_are_removed_first() {
    let apps = [desired("stays", &[])];
    let state = [
        current("stays", &[]),
        current("a", &[]),
        current("b", &["a"]),
    ];
    let plan = plan(&apps, &state, &Options::default());
    assert_eq!(names(&plan), [(Remove, "b", 1), (Remove, "a", 2)]);
    assert_eq!(plan.actions[1].after, ["b"]);
    assert_eq!(plan.unchanged, 1);
}

#[test]
fn what_is_removed_waits_for_the_upgrade_that_needs_it_no_more() {
    let mut app = desired("user", &[]);
    app.version = b"2.0.0";
    let state = [current("user", &["used"]), current("used", &[])];
    let plan = plan(&[app], &state, &Options::default());
    assert_eq!(names(&plan), [(Upgrade, "user", 1), (Remove, "used", 2)]);
}

#[test]
fn removals_that_depend_on_one_another_go_together() {
    let state = [
        current("stays", &[]),
        current("a", &["b"]),
        current("b", &["a"]),
    ];
    let plan = plan(&[desired("stays", &[])], &state, &Options::default());
    assert_eq!(names(&plan), [(Remove, "a", 1), (Remove, "b", 1)]);
    assert!(plan.actions.iter().all(|action| action.after.is_empty()));
}

#[test]
fn each_difference_has_its_name_and_action() {
    type Change = fn(&mut Current<'static, &'static str>);
    let cases: [(Change, ActionKind, Reason<'static>); 9] = [
        (|app| app.running = false, Deploy, Reason::Stopped),
        (
            |app| app.version = Some(b"0.9.0"),
            Upgrade,
            Reason::Version {
                from: b"0.9.0",
                to: b"1.0.0",
            },
        ),
        (
            |app| app.source = Some(b"elsewhere"),
            Upgrade,
            Reason::Source,
        ),
        (|app| app.notes.moved = true, Upgrade, Reason::Moved),
        (
            |app| app.env = Some(b"other"),
            Reconfigure,
            Reason::Environment,
        ),
        (
            |app| app.isolation = Isolation::Vm,
            Upgrade,
            Reason::Isolation,
        ),
        (|app| app.notes.drift = true, Upgrade, Reason::Drift),
        (|app| app.notes.unhealthy = true, Upgrade, Reason::Unhealthy),
        (
            |app| {
                app.notes.pinned = true;
                app.env = Some(b"other");
            },
            Reconfigure,
            Reason::Environment,
        ),
    ];
    for (change, kind, reason) in cases {
        let mut state = current("app", &[]);
        change(&mut state);
        let plan = plan(&[desired("app", &[])], &[state], &Options::default());
        assert_eq!(
            (plan.actions[0].kind, &plan.actions[0].reasons[..]),
            (kind, &[reason][..])
        );
    }
}

#[test]
fn an_upgrade_carries_all_its_reasons() {
    let mut state = current("app", &[]);
    state.version = Some(b"0.9.0");
    state.env = Some(b"other");
    let plan = plan(&[desired("app", &[])], &[state], &Options::default());
    let version = Reason::Version {
        from: b"0.9.0",
        to: b"1.0.0",
    };
    assert_eq!(plan.actions[0].reasons, [version, Reason::Environment]);
}

#[test]
fn a_manual_upgrade_is_left_alone_and_what_is_not_known_differs_from_nothing() {
    let mut pinned = current("pinned", &[]);
    pinned.version = Some(b"3.0.0");
    pinned.source = Some(b"elsewhere");
    pinned.notes = Notes {
        pinned: true,
        moved: true,
        ..Notes::default()
    };
    let unknown = Current {
        version: None,
        source: None,
        env: None,
        ..current("unknown", &[])
    };
    let apps = [desired("pinned", &[]), desired("unknown", &[])];
    let plan = plan(&apps, &[pinned, unknown], &Options::default());
    assert_eq!((plan.unchanged, plan.actions.len()), (2, 0));
}

#[test]
fn a_cycle_stops_its_members_and_what_needs_them() {
    let apps = [
        desired("a", &["b"]),
        desired("b", &["c"]),
        desired("c", &["a"]),
        desired("user", &["a"]),
        desired("other", &[]),
    ];
    let plan = plan(&apps, &[], &Options::default());
    assert_eq!(names(&plan), [(Deploy, "other", 1)]);
    let BlockReason::Cycle(cycle) = of(&plan, "b") else {
        panic!("no cycle")
    };
    let mut sorted = cycle.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["a", "b", "c"]);
    let at = cycle.iter().position(|name| *name == "a").unwrap();
    assert_eq!(cycle[(at + 1) % 3], "b", "each depends on the next");
    assert_eq!(*of(&plan, "user"), BlockReason::BlockedDependency("a"));
}

#[test]
fn a_self_dependency_and_a_missing_one_are_named() {
    let apps = [
        desired("own", &["own"]),
        desired("lost", &["nowhere", "host", "nowhere", "gone"]),
        desired("user", &["lost"]),
        desired("fine", &["host"]),
    ];
    let options = Options {
        host: HashSet::from(["host"]),
        ..Options::default()
    };
    let plan = plan(&apps, &[], &options);
    assert_eq!(names(&plan), [(Deploy, "fine", 1)]);
    assert_eq!(*of(&plan, "own"), BlockReason::SelfDependency);
    assert_eq!(
        *of(&plan, "lost"),
        BlockReason::MissingDependency(vec!["nowhere", "gone"])
    );
    assert_eq!(*of(&plan, "user"), BlockReason::BlockedDependency("lost"));
}

#[test]
fn what_runs_is_not_stopped_by_a_blocked_specification() {
    let apps = [
        desired("a", &["b"]),
        desired("b", &["a"]),
        desired("user", &["a", "gone"]),
    ];
    let state = [
        current("a", &[]),
        current("b", &[]),
        current("user", &[]),
        current("gone", &[]),
    ];
    let plan = plan(&apps, &state, &Options::default());
    assert_eq!(names(&plan), [(Remove, "gone", 1)]);
    assert_eq!(
        *of(&plan, "user"),
        BlockReason::MissingDependency(vec!["gone"])
    );
}

#[test]
fn a_running_dependency_serves_whatever_its_specification_is() {
    let apps = [desired("a", &["a"]), desired("user", &["a"])];
    let plan = plan(&apps, &[current("a", &[])], &Options::default());
    assert_eq!(names(&plan), [(Deploy, "user", 1)]);
    assert_eq!(plan.blocked, [("a", BlockReason::SelfDependency)]);
}

#[test]
fn two_directories_with_one_name_are_both_refused() {
    let mut second = desired("app", &[]);
    second.dir = b"copy";
    let apps = [desired("app", &[]), second, desired("user", &["app"])];
    let plan = plan(&apps, &[], &Options::default());
    assert_eq!(
        *of(&plan, "app"),
        BlockReason::Duplicate(vec![b"app", b"copy"])
    );
    assert_eq!(*of(&plan, "user"), BlockReason::BlockedDependency("app"));
    assert!(plan.actions.is_empty());
}

#[test]
fn a_broken_specification_holds_what_runs() {
    let broken = |dir, name, certain| Broken { dir, name, certain };
    let options = Options {
        broken: vec![
            broken(b"dir", None, false),
            broken(b"named", Some("named"), true),
        ],
        ..Options::default()
    };
    let by_dir = Current {
        dir: Some(b"dir"),
        ..current("by_dir", &[])
    };
    let unknown_dir = Current {
        dir: None,
        ..current("unknown_dir", &[])
    };
    let state = [
        by_dir,
        current("named", &[]),
        unknown_dir,
        current("orphan", &[]),
    ];
    let plan = plan(&[desired("user", &["by_dir"])], &state, &options);
    assert_eq!(plan.held, ["by_dir", "named", "unknown_dir"]);
    assert_eq!(names(&plan), [(Deploy, "user", 1), (Remove, "orphan", 1)]);
}

#[test]
fn all_that_is_managed_is_never_removed_at_once() {
    let refused = |state: &[Current<'static, &'static str>]| {
        plan(&[desired("new", &[])], state, &Options::default()).refused
    };
    let names = vec!["a", "b"];
    let refusal = Refusal {
        reason: RefusalReason::AllOrphans,
        names,
    };
    assert_eq!(
        refused(&[current("a", &[]), current("b", &[])]),
        Some(refusal)
    );
    assert_eq!(refused(&[current("a", &[])]), None);
}

#[test]
fn orphans_stay_where_that_is_wanted() {
    let options = Options {
        remove_orphans: false,
        ..Options::default()
    };
    let state = [current("orphan", &[]), current("a", &[])];
    let plan = plan(&[desired("a", &["orphan"])], &state, &options);
    assert_eq!(
        (plan.unchanged, plan.actions.len(), plan.blocked.len()),
        (2, 0, 0)
    );
}

fn numbered(count: u32, depends_on: impl Fn(u32) -> Vec<u32>) -> Vec<Desired<'static, u32>> {
    (0..count)
        .map(|name| Desired {
            name,
            dir: b"dir",
            version: b"1",
            source: b"s",
            env: b"e",
            isolation: Isolation::Embedded,
            depends_on: depends_on(name),
        })
        .collect()
}

#[test]
fn the_work_grows_with_the_number_of_applications() {
    let visited = |count: u32| {
        let apps = numbered(count, |name| (name.saturating_sub(2)..name).collect());
        let deployed = plan(&apps, &[], &Options::default()).visited;
        let state: Vec<_> = apps.iter().map(running).collect();
        let keep = numbered(1, |_| Vec::new());
        let removed = plan(&keep, &state, &Options::default()).visited;
        (deployed.nodes + deployed.edges) as f64 + (removed.nodes + removed.edges) as f64
    };
    let ratio = visited(10_000) / visited(1_000);
    assert!((9.9..10.1).contains(&ratio), "{ratio}");
}

#[test]
fn a_chain_of_100_000_and_a_cycle_of_100_000_need_no_deep_stack() {
    let chain = numbered(
        100_000,
        |name| if name == 0 { vec![] } else { vec![name - 1] },
    );
    let plan_of = |apps: &[Desired<'static, u32>]| plan(apps, &[], &Options::default());
    assert_eq!(plan_of(&chain).actions[99_999].wave, 100_000);
    let cycle = numbered(100_000, |name| vec![(name + 1) % 100_000]);
    let blocked = plan_of(&cycle).blocked;
    assert_eq!(blocked.len(), 100_000);
    assert!(blocked.iter().all(
        |(_, reason)| matches!(reason, BlockReason::Cycle(names) if names.len() == MAX_CYCLE_NAMES)
    ));
    let state: Vec<_> = chain.iter().map(running).collect();
    let removed = plan(&numbered(1, |_| vec![]), &state, &Options::default());
    assert_eq!(removed.actions.len(), 99_999);
    assert_eq!(removed.actions[0].name, 99_999);
}

const VERSIONS: [&[u8]; 2] = [b"1", b"2"];

prop_compose! {
    fn any_desired()(
        name in 0..12_u32, version in 0..2_usize, env in 0..2_usize, source in 0..2_usize,
        dir in 0..3_usize, depends_on in prop::collection::vec(0..14_u32, 0..3),
    ) -> Desired<'static, u32> {
        Desired {
            name,
            dir: [&b"x"[..], b"y", b"z"][dir],
            version: VERSIONS[version],
            source: VERSIONS[source],
            env: VERSIONS[env],
            isolation: Isolation::Embedded,
            depends_on,
        }
    }
}

prop_compose! {
    fn any_current()(app in any_desired(), run in prop::bool::weighted(0.8), bits in 0..16_u8)
        -> Current<'static, u32> {
        let notes = Notes {
            moved: bits == 1, pinned: bits == 2, unhealthy: bits == 3, drift: bits == 4,
        };
        Current { running: run, notes, ..running(&app) }
    }
}

fn states() -> impl Strategy<Value = (Vec<Desired<'static, u32>>, Vec<Current<'static, u32>>)> {
    let desired = prop::collection::vec(any_desired(), 0..12);
    let current = prop::collection::vec(any_current(), 0..10).prop_map(|apps| {
        let by_name: BTreeMap<u32, _> = apps.into_iter().map(|app| (app.name, app)).collect();
        by_name.into_values().collect()
    });
    (desired, current)
}

/// The state after all actions of the plan succeeded.
fn applied(
    plan: &Plan<'static, u32>,
    desired: &[Desired<'static, u32>],
    current: &[Current<'static, u32>],
) -> Vec<Current<'static, u32>> {
    let mut state: BTreeMap<u32, _> = current.iter().map(|app| (app.name, app.clone())).collect();
    for action in &plan.actions {
        if action.kind == Remove {
            state.remove(&action.name);
        } else {
            let app = desired.iter().find(|app| app.name == action.name).unwrap();
            let before = state
                .get(&action.name)
                .map(|app| app.notes.pinned)
                .unwrap_or(false);
            let mut after = running(app);
            after.notes.pinned = before;
            state.insert(action.name, after);
        }
    }
    state.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_name_is_dealt_with_exactly_once((desired, current) in states()) {
        let plan = plan(&desired, &current, &Options::default());
        let mut dealt: Vec<u32> = plan.actions.iter().map(|action| action.name).collect();
        dealt.extend(plan.blocked.iter().map(|(name, _)| name));
        dealt.extend(&plan.held);
        dealt.extend(plan.refused.iter().flat_map(|refusal| &refusal.names));
        let once: BTreeSet<u32> = dealt.iter().copied().collect();
        prop_assert_eq!(once.len(), dealt.len());
        let wanted = desired.iter().map(|app| app.name);
        let union: BTreeSet<u32> = wanted.chain(current.iter().map(|app| app.name)).collect();
        prop_assert!(once.is_subset(&union));
        prop_assert_eq!(once.len() + plan.unchanged, union.len());
    }

    #[test]
    fn each_action_comes_after_what_it_waits_for((desired, current) in states()) {
        let plan = plan(&desired, &current, &Options::default());
        let waves: BTreeMap<u32, u32> =
            plan.actions.iter().map(|action| (action.name, action.wave)).collect();
        for action in &plan.actions {
            prop_assert!(!action.reasons.is_empty());
            let latest = action.after.iter().map(|name| waves[name]).max().unwrap_or(0);
            prop_assert!(action.wave > latest);
            if action.kind != Remove {
                prop_assert_eq!(action.wave, latest + 1);
                let app = desired.iter().find(|app| app.name == action.name).unwrap();
                for dependency in &app.depends_on {
                    let acts = waves.contains_key(dependency);
                    prop_assert_eq!(acts, action.after.contains(dependency));
                }
            }
        }
    }

    #[test]
    fn nothing_is_left_to_do_after_the_plan_was_done((desired, current) in states()) {
        let first = plan(&desired, &current, &Options::default());
        let state = applied(&first, &desired, &current);
        let second = plan(&desired, &state, &Options::default());
        // Once a dependency runs, what it blocked may follow; and once one desired application
        // runs, the others no longer are all that is managed.
        let refused = first.refused.iter().flat_map(|refusal| &refusal.names);
        let blocked = first.blocked.iter().map(|(name, _)| name);
        let later: BTreeSet<u32> = refused.chain(blocked).copied().collect();
        for action in &second.actions {
            prop_assert!(later.contains(&action.name), "{action:?}");
        }
    }
}
