//! The same plan gives the same digest: twice, on another thread, in another process, in another
//! build, with other job counts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use onesocket_sim::plan::Tier;
use onesocket_sim::search::generate;

fn digest(tier: Tier, seed: u64) -> String {
    format!("{:016x}", tier.run(&generate::plan(seed)).digest)
}

/// Runs the command line and gives back the digest in its JSON.
fn digest_of(binary: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new(binary).args(arguments).args(["--json", "-"]).output().expect("the binary runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the output is JSON");
    json["digest"].as_str().expect("there is a digest").to_owned()
}

fn this_build() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_sim"))
}

#[test]
fn a_second_run_and_another_thread_agree() {
    for tier in Tier::ALL {
        for seed in [0, 7] {
            let first = digest(tier, seed);
            assert_eq!(digest(tier, seed), first, "{} seed {seed}, again", tier.name());
            let elsewhere = thread::spawn(move || digest(tier, seed)).join().expect("the thread ends");
            assert_eq!(elsewhere, first, "{} seed {seed}, on another thread", tier.name());
        }
    }
}

#[test]
fn another_process_agrees() {
    for tier in Tier::ALL {
        let replayed = digest_of(&this_build(), &["replay", "3", "--tier", tier.name()]);
        assert_eq!(replayed, digest(tier, 3), "{}", tier.name());
    }
}

#[test]
fn the_number_of_jobs_does_not_matter() {
    for (tier, seeds) in [("machine", "0..40"), ("stream", "0..8")] {
        let explore =
            |jobs| digest_of(&this_build(), &["explore", "--tier", tier, "--seeds", seeds, "--jobs", jobs]);
        assert_eq!(explore("1"), explore("2"), "{tier}");
    }
}

#[test]
fn a_release_build_agrees() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is a member of the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "onesocket-sim", "--bin", "sim", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the release build fails");
    for tier in Tier::ALL {
        let release = digest_of(&target.join("release/sim"), &["replay", "5", "--tier", tier.name()]);
        assert_eq!(release, digest(tier, 5), "{}", tier.name());
    }
}
