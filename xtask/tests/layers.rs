//! A crate depends only on lower layers, and `unsafe` lives in `linux` alone (ARCHITECTURE.md, 'Crates').

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The layers, lowest first; a crate may depend on crates of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["linux", "fault"],
    &["cgroup", "seccomp", "content", "snapshot", "logs", "registry"],
    &["runtime", "image"],
    &["monitor"],
    &["engine"],
    &["cli"],
    &["sampan", "sampan-runtime"],
];
/// Crates of development, which may use anything.
const DEV: &[&str] = &["testkit", "xtask"];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask stands in the workspace")
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(workspace())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

#[test]
fn a_crate_depends_only_on_lower_layers() {
    let layer: BTreeMap<&str, usize> =
        LAYERS.iter().enumerate().flat_map(|(n, names)| names.iter().map(move |name| (*name, n))).collect();
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name");
        if DEV.contains(&name) {
            continue;
        }
        let Some(own) = layer.get(name) else {
            wrong.push(format!("{name} has no layer: add it to LAYERS and ARCHITECTURE.md"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("name");
            let normal = dependency["kind"].is_null();
            if !normal || dependency["path"].is_null() {
                continue;
            }
            match layer.get(on) {
                Some(other) if other < own => {}
                _ => wrong.push(format!("{name} (layer {own}) depends on {on}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_forbidden_outside_linux() {
    for names in LAYERS {
        for name in *names {
            if *name == "linux" {
                continue;
            }
            let source = workspace().join("crates").join(name).join("src");
            let root = ["lib.rs", "main.rs"].iter().map(|f| source.join(f)).find(|p| p.exists());
            let root = root.unwrap_or_else(|| panic!("{name} has no lib.rs or main.rs"));
            let text = std::fs::read_to_string(&root).expect("readable source");
            assert!(text.contains("#![forbid(unsafe_code)]"), "{} lacks forbid(unsafe_code)", root.display());
        }
    }
}
