//! The project's rules on its own structure, held by reading `cargo metadata`: which room may depend
//! on which, under which licences and from which sources everything comes.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The allowed dependencies between rooms. What is not here is forbidden.
const ROOMS: &[(&str, &[&str])] = &[
    ("shakedown-contracts", &[]),
    ("shakedown-plan", &["shakedown-contracts"]),
    (
        "shakedown-run",
        &["shakedown-contracts", "shakedown-simulator"],
    ),
    ("shakedown-analyze", &["shakedown-contracts"]),
    ("shakedown-report", &["shakedown-contracts"]),
    (
        "shakedown-fuzz",
        &["shakedown-agents", "shakedown-contracts", "shakedown-plan"],
    ),
    ("shakedown-agents", &["shakedown-contracts"]),
    ("shakedown-core", &["shakedown-contracts"]),
    ("shakedown-node", &["shakedown-contracts", "shakedown-core"]),
    (
        "shakedown-simulator",
        &["shakedown-contracts", "shakedown-core"],
    ),
    (
        "shakedown-cli",
        &[
            "shakedown-agents",
            "shakedown-analyze",
            "shakedown-contracts",
            "shakedown-node",
            "shakedown-plan",
            "shakedown-report",
            "shakedown-run",
        ],
    ),
];

/// Crates that a pure room must not use: sockets, runtimes, system calls.
const EFFECTS: &[&str] = &["tokio", "nix", "libc", "socket2", "reqwest", "axum"];
const PURE_ROOMS: &[&str] = &[
    "shakedown-contracts",
    "shakedown-plan",
    "shakedown-analyze",
    "shakedown-report",
    "shakedown-core",
    "shakedown-simulator",
];

/// Licences that may be linked into a binary under Apache-2.0 OR MIT.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Of the platform that Shakedown runs on: other platforms' crates are not even downloaded.
fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let options = ["--offline", "--locked", "--filter-platform", &platform];
    MetadataCommand::new()
        .other_options(options.map(str::to_owned))
        .exec()
        .expect("cargo metadata of this workspace")
}

fn rooms(metadata: &Metadata) -> Vec<&Package> {
    metadata.workspace_packages()
}

fn normal_dependencies(package: &Package) -> BTreeSet<String> {
    let normal = |kind| kind == DependencyKind::Normal || kind == DependencyKind::Build;
    let used = package
        .dependencies
        .iter()
        .filter(|dependency| normal(dependency.kind));
    used.map(|dependency| dependency.name.clone()).collect()
}

#[test]
fn rooms_depend_on_each_other_only_as_the_architecture_allows() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let names: BTreeSet<String> = rooms(&metadata)
        .iter()
        .map(|room| room.name.to_string())
        .collect();
    assert_eq!(
        names,
        ROOMS.iter().map(|(name, _)| (*name).to_owned()).collect()
    );
    for room in rooms(&metadata) {
        let allowed = allowed[room.name.as_str()];
        for dependency in normal_dependencies(room).intersection(&names) {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{} must not depend on {dependency}; ARCHITECTURE.md says why",
                room.name
            );
        }
    }
}

#[test]
fn pure_rooms_use_no_crate_that_has_effects() {
    let metadata = metadata();
    for room in rooms(&metadata) {
        if PURE_ROOMS.contains(&room.name.as_str()) {
            let used = normal_dependencies(room);
            let effects: Vec<_> = EFFECTS
                .iter()
                .filter(|name| used.contains(**name))
                .collect();
            assert!(
                effects.is_empty(),
                "{} is pure but uses {effects:?}",
                room.name
            );
        }
    }
}

/// True when some choice of an SPDX expression's `OR` needs only allowed licences.
fn licence_is_allowed(expression: &str) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    expression.split(" OR ").any(|choice| {
        choice
            .split(" AND ")
            .all(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn every_crate_comes_from_the_registry_under_an_allowed_licence() {
    let metadata = metadata();
    let members: BTreeSet<_> = metadata.workspace_members.iter().collect();
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("none stated");
        assert!(
            licence_is_allowed(licence),
            "{} has licence {licence}",
            package.name
        );
        if !members.contains(&package.id) {
            let source = package
                .source
                .as_ref()
                .expect("a path dependency outside the workspace");
            assert!(
                source.is_crates_io(),
                "{} comes from {source:?}",
                package.name
            );
        }
    }
}

#[test]
fn a_copyleft_licence_is_refused() {
    assert!(!licence_is_allowed("GPL-3.0-only"));
    assert!(!licence_is_allowed("MIT AND GPL-2.0"));
    assert!(licence_is_allowed("GPL-2.0 OR MIT"));
    assert!(licence_is_allowed("MIT/Apache-2.0"));
}

#[test]
fn every_workspace_dependency_states_its_reason() {
    let manifest = std::fs::read_to_string(metadata().workspace_root.join("Cargo.toml"))
        .expect("the workspace's Cargo.toml");
    let dependencies = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .and_then(|rest| rest.split("\n[").next())
        .expect("the table of dependencies");
    for line in dependencies.lines().filter(|line| line.contains(" = ")) {
        let own = line.starts_with("shakedown-");
        assert!(own || line.contains(" # "), "no reason is given: {line}");
    }
}
