//! Plans of whole experiment files: goldens, and what must hold for every plan.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use shakedown_contracts::plan::{Plan, Start};
use shakedown_contracts::strategy::Replication;
use shakedown_contracts::units::Duration;
use shakedown_plan::{Overrides, PlanError, ProblemKind, Source, compile, describe};

fn plans(text: &str) -> Result<Vec<Plan>, PlanError> {
    let source = Source {
        path: "experiments/example.toml",
        text,
        name: "example",
    };
    compile(&source, &Overrides::default())
}

fn plan(text: &str) -> Plan {
    let mut plans = plans(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plans.len(), 1);
    plans.remove(0)
}

fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry of that folder").path();
        if path.is_dir() {
            files.extend(toml_files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    files
}

const WHOLE: &str = include_str!("whole.toml");

#[test]
fn a_whole_experiment_becomes_its_plans() {
    let plans = plans(WHOLE).unwrap_or_else(|error| panic!("{error}"));
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "example@fixed@target.nodes=3",
            "example@fixed@target.nodes=5",
            "example@no-heartbeat@target.nodes=3",
            "example@no-heartbeat@target.nodes=5",
        ]
    );
    insta::assert_json_snapshot!("whole_plan", plans[1]);
    insta::assert_snapshot!("whole_description", describe(&plans[1]));
}

#[test]
fn a_nearly_empty_experiment_gets_every_default() {
    let plan = plan("[[fault]]\nkind = \"kill\"\n");
    insta::assert_json_snapshot!("defaults", plan);
    insta::assert_snapshot!("defaults_description", describe(&plan));
}

#[test]
fn each_malformed_file_is_told_with_line_span_and_hint() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/malformed");
    let files = toml_files(&folder);
    assert!(files.len() >= 12, "{} malformed files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let path = format!("malformed/{stem}.toml");
        let source = Source {
            path: &path,
            text: &text,
            name: &stem,
        };
        let error = compile(&source, &Overrides::default()).expect_err(&stem);
        insta::assert_snapshot!(format!("malformed_{stem}"), error.to_string());
    }
}

#[test]
fn every_experiment_of_the_project_compiles_and_survives_json() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let files = toml_files(&folder);
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.display().to_string();
        let source = Source {
            path: &path,
            text: &text,
            name: "experiment",
        };
        match compile(&source, &Overrides::default()) {
            Ok(plans) => {
                for plan in plans {
                    let json = serde_json::to_string(&plan).unwrap();
                    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
                    assert!(!describe(&plan).is_empty());
                }
            }
            // An experiment may be ahead of this version, but not malformed.
            Err(error) => {
                let unavailable = |kind| kind == ProblemKind::Unavailable;
                assert!(
                    error.problems.iter().all(|p| unavailable(p.kind)),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn a_plan_read_back_from_json_is_the_same_plan() {
    for plan in plans(WHOLE).unwrap() {
        let json = serde_json::to_string_pretty(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}

#[test]
fn raft_is_read_with_its_defaults_and_with_every_option() {
    let replication = |options: &str| {
        let text = format!(
            "[target.strategy]\nreplication = {{ kind = \"raft\"{options} }}\n[[fault]]\nkind = \"kill\"\n"
        );
        let plan = plan(&text);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
        let described = describe(&plan);
        let line = described.lines().find(|line| line.contains("raft:"));
        line.map(|line| line.trim().to_owned())
    };
    insta::assert_debug_snapshot!(
        "raft",
        [
            replication(""),
            replication(
                ", election_timeout = \"12ms..24ms\", heartbeat_interval = \"6ms\", pre_vote = false, check_quorum = false, reads = \"local\""
            ),
            replication(", election_timeout = \"150ms..150ms\""),
        ]
    );
}

#[test]
fn a_balancer_is_a_companion_in_front_of_backends_that_keep_nothing() {
    let balanced = |options: &str| {
        let text = format!(
            "[target.strategy]\nbalancing = {{ {options} }}\n[[fault]]\nkind = \"kill\"\nnodes = [\"b1\"]\n"
        );
        let plan = plan(&text);
        let names: Vec<&str> = plan
            .target
            .members()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["n1", "n2", "n3", "b1"]);
        assert_eq!(plan.workload.kind.name(), "requests");
        assert!(!plan.workload.final_reads);
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
        let described = describe(&plan);
        let lines = described.lines().filter(|line| {
            ["balancing ", "replication ", "recovery log "]
                .iter()
                .any(|name| line.trim().starts_with(name))
        });
        lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    insta::assert_debug_snapshot!(
        "balancing",
        [
            balanced("kind = \"none\""),
            balanced(
                "kind = \"consistent-hash\", bound = \"none\", retry = \"budget\", hedging = \"95%\""
            ),
            balanced(
                "kind = \"power-of-two-choices\", health_check = true, slow_start = \"10s\", outlier_ejection = { max_ejection_percent = \"50%\" }, circuit_breaker = {}, backend = { slots = 2, shedding = \"codel\", service = \"fixed\" }"
            ),
        ]
    );
}

#[test]
fn transactions_are_read_with_their_defaults_and_with_every_option() {
    let transactions = |options: &str| {
        let text = format!(
            "[target.strategy]\ntransactions = {{ {options} }}\n[workload]\nkind = \"bank\"\n[[fault]]\nkind = \"kill\"\nnodes = \"one\"\n"
        );
        let plan = plan(&text);
        assert_eq!(plan.target.strategy.replication, Replication::None {});
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
        let described = describe(&plan);
        let mut lines = described.lines().map(str::trim);
        lines.find_map(|line| Some(line.strip_prefix("transactions")?.trim().to_owned()))
    };
    insta::assert_debug_snapshot!(
        "transactions",
        [
            transactions("kind = \"none\""),
            transactions("kind = \"saga\", idempotent = false"),
            transactions("kind = \"two-phase-commit\""),
            transactions(
                "kind = \"two-phase-commit\", concurrency = \"snapshot\", prepare_timeout = \"200ms\", decision_retry = \"20ms\", hold_before_decision = \"100ms\", cooperative_termination = true, in_doubt = \"heuristic-abort\", lock_ttl = \"300ms\""
            ),
            transactions("kind = \"paxos-commit\", lock_ttl = \"300ms\""),
        ]
    );
}

#[test]
fn the_same_file_and_seed_give_the_same_plan_and_another_seed_another() {
    assert_eq!(plans(WHOLE), plans(WHOLE));
    let source = Source {
        path: "e.toml",
        text: WHOLE,
        name: "e",
    };
    let seeded = |seed| {
        let overrides = Overrides {
            seed: Some(seed),
            ..Overrides::default()
        };
        compile(&source, &overrides).unwrap().remove(0).trials
    };
    assert_eq!(seeded(5), seeded(5));
    assert_ne!(seeded(5), seeded(6));
}

#[test]
fn a_variant_changes_only_what_it_names() {
    let base =
        "title = \"t\"\ntrials = 4\n[[fault]]\nname = \"f\"\nkind = \"kill\"\nat_jitter = \"1s\"\n";
    let variant = "[[variant]]\nname = \"v\"\ntarget.strategy.detector = { kind = \"none\" }\n";
    let alone = plan(base);
    let mut varied = plan(&format!("{base}{variant}"));
    assert_ne!(
        varied.target.strategy.detector,
        alone.target.strategy.detector
    );
    assert_eq!(
        (varied.name.as_str(), varied.variant.as_deref()),
        ("example@v", Some("v"))
    );
    varied.target.strategy.detector = alone.target.strategy.detector.clone();
    varied.name = alone.name.clone();
    varied.variant = None;
    assert_eq!(varied, alone);
}

#[test]
fn removing_one_fault_changes_no_other_faults_draw() {
    let fault = |name: &str| {
        format!(
            "[[fault]]\nname = \"{name}\"\nkind = \"delay\"\nlatency = \"5ms\"\nat_jitter = \"1s\"\n"
        )
    };
    let head = "trials = 5\n";
    let both = plan(&format!("{head}{}{}", fault("a"), fault("b")));
    let alone = plan(&format!("{head}{}", fault("b")));
    let starts = |plan: &Plan| -> Vec<Start> {
        let of_b = plan
            .trials
            .iter()
            .flat_map(|t| &t.schedule)
            .filter(|i| i.fault == "b");
        of_b.map(|injection| injection.start.clone()).collect()
    };
    assert_eq!(starts(&both), starts(&alone));
    // The draws are draws: five equal ones out of a million values are none.
    assert!(starts(&alone).windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn the_nemesis_never_overlaps_itself_or_the_end_of_the_fault_phase() {
    let text = "trials = 20\n[phases]\nfault = \"11s\"\n[nemesis]\nfaults = [\"kill\", \"pause\", \"partition\"]\ninterval = \"2s\"\n";
    let plan = plan(text);
    let mut kinds = std::collections::BTreeSet::new();
    for trial in &plan.trials {
        assert_eq!(
            trial.schedule.len(),
            5,
            "one in each whole interval of 11 s"
        );
        let mut free = Duration::ZERO;
        for injection in &trial.schedule {
            let Start::At(start) = injection.start else {
                panic!("the nemesis draws times")
            };
            assert!(start >= free, "{injection:?} begins before {free}");
            free = start.saturating_add(injection.duration.unwrap());
            kinds.insert(injection.fault.clone());
        }
        assert!(free <= plan.phases.fault);
    }
    assert_eq!(kinds.len(), 3, "a hundred draws out of three miss none");
    assert_eq!(plan.faults.len(), 3);
}

#[test]
fn clients_beside_nodes_are_spread_evenly() {
    let plan =
        plan("[workload]\nclients = 8\nplacement = \"beside\"\n[[fault]]\nkind = \"pause\"\n");
    let groups = plan.workload.groups.iter();
    let groups: Vec<_> = groups
        .map(|g| (g.name.as_str(), g.beside.as_deref().unwrap(), g.clients))
        .collect();
    assert_eq!(groups, [("c1", "n1", 3), ("c2", "n2", 3), ("c3", "n3", 2)]);
}

#[test]
fn what_this_version_lacks_is_unavailable_and_not_a_mistake() {
    let with_fault = |text: &str| format!("{text}\n[[fault]]\nkind = \"kill\"\n");
    for text in [
        with_fault("stage = \"ssh\""),
        with_fault("[target]\nsystem = \"targets/etcd.toml\"\nanything = 1"),
        with_fault("[target]\nrole.app = { count = 2 }"),
        with_fault("[workload]\nkind = \"queue\"\nitems = 5"),
        with_fault("[nemesis]\nfaults = [\"syscall\"]"),
        "[[fault]]\nkind = \"syscall\"\npath = \"/\"\n".to_owned(),
        "[[fault]]\nkind = \"kill\"\nafter = \"transaction.committed\"\n".to_owned(),
        "[[fault]]\nkind = \"kill\"\nnodes = \"coordinator\"\n".to_owned(),
        with_fault("[[gate]]\nmetric = \"recovery.steady_state\"\nrequire = \"< 2s\""),
        with_fault("[[gate]]\nmetric = \"consistency\"\nrequire = \"serializable\""),
    ] {
        let error = plans(&text).expect_err(&text);
        let kinds: Vec<ProblemKind> = error.problems.iter().map(|p| p.kind).collect();
        assert_eq!(kinds, [ProblemKind::Unavailable], "{text}\n{error}");
        assert!(
            error.problems[0].message.contains("not available"),
            "{error}"
        );
    }
}

#[test]
fn a_wrong_override_is_told_of_the_option() {
    let source = Source {
        path: "e.toml",
        text: "[[fault]]\nkind = \"kill\"\n",
        name: "e",
    };
    let overrides = Overrides {
        trials: Some(0),
        stage: Some("locl".into()),
        seed: None,
    };
    let error = compile(&source, &overrides).unwrap_err();
    insta::assert_snapshot!("wrong_override", error.to_string());
}

#[test]
fn a_fault_of_resources_says_how_much_of_what() {
    let of =
        |kind: &str, options: &str| plans(&format!("[[fault]]\nkind = \"{kind}\"\n{options}\n"));
    for (kind, options) in [
        ("cpu", "quota = 0.2"),
        ("cpu", "hogs = 2\nquota = 1.5"),
        ("memory", "limit = \"64MiB\""),
        ("memory", "pressure = \"1GiB\""),
    ] {
        of(kind, options).unwrap_or_else(|error| panic!("{error}"));
    }
    for (kind, options, told) in [
        ("cpu", "", "quota = 0.2"),
        ("cpu", "quota = 0.001", "give at least 0.01"),
        ("memory", "", "pressure = "),
        ("memory", "limit = \"4KiB\"", "give at least 1MiB"),
    ] {
        let error = of(kind, options).unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = plans(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = plans(&String::from_utf8_lossy(&bytes)).map_err(|error| error.to_string());
    }

    #[test]
    fn a_whole_experiment_with_one_piece_replaced_never_panics(
        start in 0..WHOLE.len(),
        length in 0..12_usize,
        piece in "[a-z0-9\"=\\[\\]{}.,\n é-]{0,8}",
    ) {
        let whole: Vec<char> = WHOLE.chars().collect();
        let start = start.min(whole.len());
        let end = (start + length).min(whole.len());
        let text: String =
            whole[..start].iter().copied().chain(piece.chars()).chain(whole[end..].iter().copied()).collect();
        match plans(&text) {
            Ok(plans) => {
                for plan in plans {
                    let json = serde_json::to_string(&plan).unwrap();
                    prop_assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
                }
            }
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}

#[test]
fn faults_of_disks_are_there_in_both_stages_with_what_each_can_do() {
    let in_stage = |stage: &str, options: &str| {
        plans(&format!(
            "stage = \"{stage}\"\n[[fault]]\nkind = \"disk-fault\"\nnodes = [\"n1\"]\n{options}\n"
        ))
    };
    for stage in ["local", "simulation"] {
        let plans = in_stage(stage, "methods = [\"sync\"]\ntimes = 2").unwrap();
        assert_eq!(plans[0].faults[0].kind.name(), "disk-fault");
        assert_eq!(plans[0].preparations.serve_disks, stage == "local");
        // The plan survives its file.
        let json = serde_json::to_string(&plans[0]).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plans[0]);
        assert!(describe(&plans[0]).contains("disk-fault on n1"));
    }
    for (key, value) in [
        ("path", "\"wal/*\""),
        ("percent", "0.05"),
        ("methods", "[\"rename\"]"),
        ("errno", "\"EROFS\""),
    ] {
        let option = format!("{key} = {value}");
        in_stage("local", &option).unwrap();
        let error = in_stage("simulation", &option).unwrap_err();
        let problem = &error.problems[0];
        assert!(problem.message.contains(key), "{error}");
        let hint = problem.hint.as_deref().unwrap_or_default();
        assert!(hint.contains("--stage local"), "{error}");
    }
}

#[test]
fn ports_are_numbers_or_names_of_the_cluster_and_simulated_messages_have_none() {
    let faults = [
        "kind = \"partition\"\nshape = \"isolate\"",
        "kind = \"partition\"\nfrom = \"n1\"\nto = \"n2\"\nbehavior = \"reject\"",
        "kind = \"delay\"\nlatency = \"5ms\"",
        "kind = \"loss\"\nloss = \"5%\"",
        "kind = \"duplicate\"\nduplicate = \"5%\"",
        "kind = \"reorder\"\nreorder = \"5%\"\nlatency = \"5ms\"",
        "kind = \"corrupt\"\ncorrupt = \"5%\"",
        "kind = \"bandwidth\"\nrate = \"1mbit\"",
        "kind = \"reset\"",
    ];
    for fault in faults {
        let text = format!("[[fault]]\n{fault}\nports = [\"peer\", 6379, \"client\"]\n");
        let plan = plan(&text);
        let ports: Vec<u16> = plan.faults[0].kind.ports().iter().collect();
        assert_eq!(ports, [6379, 7000, 7001], "{fault}");
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
        assert!(describe(&plan).contains("6379"), "{}", describe(&plan));
    }
    let text = "stage = \"simulation\"\n[[fault]]\nkind = \"loss\"\nloss = \"5%\"\nports = [80]\n";
    let error = plans(text).unwrap_err();
    assert_eq!(error.problems.len(), 1, "{error}");
    assert_eq!(error.problems[0].kind, ProblemKind::Unavailable);
    assert!(error.to_string().contains("--stage local"), "{error}");
}

#[test]
fn a_fault_of_lookups_has_a_mode_and_names_and_needs_real_processes() {
    let fault = |stage: &str, options: &str| {
        plans(&format!(
            "stage = \"{stage}\"\n[[fault]]\nkind = \"dns\"\nnodes = [\"n1\"]\n{options}\n"
        ))
    };
    for options in [
        "mode = \"error\"",
        "mode = \"nxdomain\"\nnames = [\"N2\"]",
        "mode = \"random\"\nnames = [\"n2\", \"*.example\"]",
        "mode = \"timeout\"",
        "mode = \"delay\"\nlatency = \"200ms\"",
    ] {
        let plans = fault("local", options).unwrap();
        assert!(plans[0].preparations.serve_names, "{options}");
        let json = serde_json::to_string(&plans[0]).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plans[0]);
        assert!(describe(&plans[0]).contains("dns on n1"), "{options}");
        let error = fault("simulation", options).unwrap_err();
        assert!(error.to_string().contains("--stage local"), "{error}");
    }
    let lower = fault("local", "mode = \"error\"\nnames = [\"N2\"]").unwrap();
    assert!(describe(&lower[0]).contains("n2"));
    let without = plan("[[fault]]\nkind = \"kill\"\n");
    assert!(!without.preparations.serve_names);
    let drawn = plan("[nemesis]\nfaults = [\"dns\"]\ninterval = \"1s\"\n");
    assert!(drawn.preparations.serve_names);
}
