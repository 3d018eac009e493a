//! Names whose order means nothing.

/// Names as the app gave them, without repetitions.
///
/// They go to the gateway in the order of the app, which a device signs. Two sets are equal if they hold the same names:
/// neither order nor repetition means anything to a gateway, and configs that differ in no more are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameSet(Vec<String>);

impl NameSet {
    pub(super) fn new<S: Into<String>>(given: impl IntoIterator<Item = S>) -> Self {
        let mut names = Vec::new();
        for name in given {
            let name = name.into();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Self(names)
    }

    pub(super) fn in_order_given(&self) -> &[String] {
        &self.0
    }

    /// The same for equal sets.
    pub(crate) fn sorted(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.0.iter().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl PartialEq for NameSet {
    fn eq(&self, other: &Self) -> bool {
        self.sorted() == other.sorted()
    }
}

impl Eq for NameSet {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_socket_the_same_names_are_equal_and_stay_in_their_order() {
        let set = |names: &[&str]| NameSet::new(names.iter().copied());
        let given = set(&["b", "a", "b", "c", "a"]);
        assert_eq!(given.in_order_given(), ["b", "a", "c"]);
        assert_eq!(given, set(&["c", "b", "a"]));
        for other in [&["a", "b"][..], &["a", "b", "c", "d"], &["a", "b", "C"], &["ab", "c"], &[]] {
            assert_ne!(given, set(other));
        }
    }
}
