//! Every oracle is seen to fire: the core is broken on purpose and the harness notices.

use std::path::Path;

use onesocket_sim::mutants;

#[test]
fn every_mutant_is_noticed_by_the_right_oracle() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim is a member of the workspace");
    let chosen = mutants::load(workspace, &[]).expect("the mutants can be read");
    assert!(chosen.len() >= 2);
    for mutant in &chosen {
        let outcome = mutants::try_out(workspace, mutant).unwrap_or_else(|error| panic!("{error}"));
        assert!(outcome.found, "{outcome}");
    }
}
