//! Circles of imports among the files of the simulator: who reads one file of a circle has to read them all.

use std::collections::{BTreeMap, BTreeSet};

use super::{sources, without_comment};

/// The most files of one circle.
const CIRCLE_MAX: usize = 3;

#[test]
fn circles_of_imports_are_small_and_stay_in_their_folder() {
    let (circles, too_large) = circles_of(&sources());
    assert!(!circles.is_empty(), "the small circles that there are are not found");
    assert!(
        too_large.is_empty(),
        "circles of more than {CIRCLE_MAX} files, or of two folders: {too_large:#?}"
    );
}

#[test]
fn a_circle_that_is_too_large_is_caught() {
    let file = |path: &str, text: &str| (format!("sim/src/{path}.rs"), text.to_owned());
    let through = |path: &str, to: &str| file(path, &format!("use crate::{{\n    a::{to}::Thing,\n}};\n"));
    let module = file("a/mod", "pub use x::Thing;\n");
    let ring = [module.clone(), through("a/x", "y"), through("a/y", "z"), through("a/z", "w")];
    let closed = [&ring[..], &[file("a/w", "use super::Thing;\n")]].concat();
    assert_eq!(circles_of(&closed).1, [["a::w", "a::x", "a::y", "a::z"]]);
    let open = [&ring[..], &[file("a/w", "#[cfg(test)]\nmod tests {\n    use super::super::x::Thing;\n}\n")]];
    assert_eq!(circles_of(&open.concat()).0, Vec::<Vec<String>>::new());
    let pair = [module, through("a/x", "y"), file("a/y", "use super::x::Thing; // use crate::b::Thing;\n")];
    assert_eq!(circles_of(&pair), (vec![vec!["a::x".to_owned(), "a::y".to_owned()]], vec![]));
    let folders =
        [file("a/x", "use crate::b::y::Thing;\n"), file("b/y", "use onesocket_sim::a::x::Thing;\n")];
    assert_eq!(circles_of(&folders).1, [["a::x", "b::y"]]);
}

/// All circles of imports, and those that are too large.
fn circles_of(files: &[(String, String)]) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let graph = imports(files);
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|module| (module.as_str(), reached_from(module, &graph))).collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reached {
        let circle: Vec<String> = others
            .iter()
            .filter(|other| reached[**other].contains(module))
            .map(ToString::to_string)
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let folder = |module: &str| {
        let has_files = graph.keys().any(|other| other.starts_with(&format!("{module}::")));
        let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
        if has_files { module.to_owned() } else { parent.to_owned() }
    };
    let is_too_large = |circle: &&Vec<String>| {
        let folders: BTreeSet<String> = circle.iter().map(|module| folder(module)).collect();
        circle.len() > CIRCLE_MAX || folders.len() > 1
    };
    let too_large = circles.iter().filter(is_too_large).cloned().collect();
    (circles.into_iter().collect(), too_large)
}

/// Everything that a module imports, and what that imports, and so on.
fn reached_from<'g>(module: &str, graph: &'g BTreeMap<String, BTreeSet<String>>) -> BTreeSet<&'g str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&'g str> = graph[module].iter().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(graph[next].iter().map(String::as_str));
        }
    }
    reached
}

/// What each module of the simulator imports. A name that is only passed on is imported from where it is.
fn imports(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let texts: BTreeMap<String, &str> =
        files.iter().filter_map(|(path, text)| Some((module_of(path)?, text.as_str()))).collect();
    let is_module = |name: &str| texts.contains_key(name);
    let mut passed_on = BTreeMap::new();
    for (module, text) in &texts {
        for (path, _) in uses(text).into_iter().filter(|(_, is_public)| *is_public) {
            if let Some((target, rest)) = resolve(module, &path, &is_module) {
                let name = rest.unwrap_or_else(|| path.rsplit("::").next().unwrap_or_default().to_owned());
                passed_on.insert((module.clone(), name), target);
            }
        }
    }
    let target_of = |module: &String, path: &str| {
        let (mut target, rest) = resolve(module, path, &is_module)?;
        while let Some(next) = passed_on.get(&(target.clone(), rest.clone().unwrap_or_default()))
            && *next != target
        {
            target.clone_from(next);
        }
        Some(target).filter(|target| target != module)
    };
    let of = |(module, text): (&String, &&str)| {
        let own = uses(text).into_iter().filter(|(_, is_public)| !is_public);
        (module.clone(), own.filter_map(|(path, _)| target_of(module, &path)).collect())
    };
    texts.iter().map(of).collect()
}

fn module_of(path: &str) -> Option<String> {
    let path = path.strip_prefix("sim/src/")?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    (!["lib", "main"].contains(&path)).then(|| path.replace('/', "::"))
}

/// The imported paths outside of tests, and whether each is passed on.
fn uses(text: &str) -> Vec<(String, bool)> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().map(|line| format!("{}\n", without_comment(line))).collect();
    let mut paths = Vec::new();
    for statement in code.split(';') {
        let line = statement.rfind("\nuse ").map(|at| at + 1);
        let passed = statement.rfind("\npub").filter(|at| statement[*at..].contains(" use "));
        let begin = line.max(passed).or_else(|| statement.starts_with("use ").then_some(0));
        let begin = begin.or_else(|| statement.starts_with("pub use ").then_some(0));
        let Some(begin) = begin else { continue };
        let Some((visibility, tree)) = statement[begin..].split_once("use ") else { continue };
        let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut expanded = Vec::new();
        expand("", &tree, &mut expanded);
        paths.extend(expanded.into_iter().map(|path| (path, visibility.contains("pub"))));
    }
    paths
}

/// The paths of a tree such as `a::{b, c::{d, e}}`.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((head, body)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default();
        if !name.is_empty() {
            paths.push(format!("{prefix}{name}").trim_end_matches("::self").to_owned());
        }
        return;
    };
    let prefix = format!("{prefix}{head}");
    let body = body.strip_suffix('}').unwrap_or(body);
    let (mut depth, mut begin) = (0_u32, 0);
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&prefix, &body[begin..at], paths);
                begin = at + 1;
            }
            _ => {}
        }
    }
    expand(&prefix, &body[begin..], paths);
}

/// The module that a path of `module` leads to, and the name in it, if there is one.
fn resolve(module: &str, path: &str, is_module: &dyn Fn(&str) -> bool) -> Option<(String, Option<String>)> {
    let parent = |module: &str| module.rsplit_once("::").map_or("", |(parent, _)| parent).to_owned();
    let (mut base, mut path) = (module.to_owned(), path);
    if let Some(rest) = path.strip_prefix("crate::").or_else(|| path.strip_prefix("onesocket_sim::")) {
        (base, path) = (String::new(), rest);
    }
    path = path.strip_prefix("self::").unwrap_or(path);
    while let Some(rest) = path.strip_prefix("super::") {
        (base, path) = (parent(&base), rest);
    }
    let full = if base.is_empty() { path.to_owned() } else { format!("{base}::{path}") };
    let parts: Vec<&str> = full.split("::").collect();
    let length = (1..=parts.len()).rev().find(|length| is_module(&parts[..*length].join("::")))?;
    Some((parts[..length].join("::"), parts.get(length).map(ToString::to_string)))
}
