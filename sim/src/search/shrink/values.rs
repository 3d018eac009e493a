//! Simpler values in the steps and parameters of a plan, whatever they mean.
//!
//! Every change makes something smaller by a measure that has an end, so no two changes undo each other: numbers of
//! steps go towards zero, parameters towards their defaults, texts towards a shorter one, lists and optional keys
//! away, gaps between steps and the rest of the run towards nothing, and the seed towards zero.

use serde::Deserialize as _;
use toml::{Table, Value};

use super::{OTHER_SEEDS, Search};
use crate::plan::{Limits, Params, Plan, Step};

/// Numbers that are names: a smaller one is not a simpler one.
const NAMES: [&str; 4] = ["code", "close", "status", "version"];
/// The simplest text of a key.
const PLAIN: [(&str, &str); 4] =
    [("method", "health"), ("token", Plan::FIRST_TOKEN), ("event", "chat"), ("reason", "")];
/// The key of a step's absolute time, and that of the end of the run.
const AT: &str = "at_ms";
const END: &str = "end_ms";
/// The key of the time after which no fault begins.
const CALM: &str = "calm_ms";
/// The ends of the range that latencies are drawn from.
const LATENCY_MIN: &str = "latency_min_us";
const LATENCY_MAX: &str = "latency_max_us";

/// Tries once whatever may be simpler.
pub(super) fn simplify(search: &mut Search<'_>) {
    params(search);
    calm(search);
    end(search);
    gaps(search);
    for path in leaves(search) {
        leaf(search, &path);
    }
    lists(search);
    optional_keys(search);
    end(search);
    seed(search);
}

/// What a step does, for the name of a file.
pub(super) fn name(step: &Step) -> String {
    let table = Table::try_from(step).unwrap_or_default();
    table.get("do").and_then(Value::as_str).unwrap_or("step").to_owned()
}

/// One step of a path into a tree of values.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

type Path = Vec<Segment>;

impl Search<'_> {
    fn table(&self) -> Table {
        Table::try_from(&self.best).expect("a plan is plain data")
    }

    /// Accepts what a change of the best plan's tree gives, if it still is a plan.
    fn change(&mut self, change: impl FnOnce(&mut Table) -> Option<()>) -> bool {
        let mut table = self.table();
        let plan = change(&mut table).and_then(|()| Plan::deserialize(table).ok());
        plan.is_some_and(|plan| self.accept(plan))
    }

    /// Brings a number from `now` as close to `wanted` as the violation allows, in halves. Off by less than a
    /// fiftieth is close enough: nobody reads more digits.
    fn approach(&mut self, now: i64, wanted: i64, set: &dyn Fn(&mut Table, i64) -> Option<()>) {
        if now == wanted || self.change(|table| set(table, wanted)) {
            return;
        }
        let (mut good, mut bad) = (now, wanted);
        while good.abs_diff(bad) > 1 + good.unsigned_abs() / 50 && !self.is_over() {
            let middle = bad + (good - bad) / 2;
            if self.change(|table| set(table, middle)) {
                good = middle;
            } else {
                bad = middle;
            }
        }
    }
}

/// All at their defaults, then each; a latency that has to stay unusual may at least be constant.
fn params(search: &mut Search<'_>) {
    let Params { end_ms, calm_ms, .. } = search.best.params;
    let usual = Params { end_ms, calm_ms, ..Params::default() };
    if search.accept(Plan { params: usual.clone(), ..search.best.clone() }) {
        return;
    }
    let usual = Table::try_from(&usual).expect("parameters are plain data");
    for (key, mut wanted) in usual {
        if key == END || key == CALM {
            continue;
        }
        let now = search.table().get("params").and_then(|params| params.get(&key)).cloned();
        let latency_max_us = search.best.params.latency_max_us;
        if key == LATENCY_MIN && latency_max_us != Params::default().latency_max_us {
            wanted = Value::Integer(i64::try_from(latency_max_us).unwrap_or(i64::MAX));
        }
        let set = |table: &mut Table, value: Value| {
            let params = table.get_mut("params")?.as_table_mut()?;
            // The shortest latency makes way for a lower longest one.
            if key == LATENCY_MAX && params.get(LATENCY_MIN)?.as_integer() > value.as_integer() {
                params.insert(LATENCY_MIN.to_owned(), value.clone());
            }
            params.insert(key.clone(), value).map(|_| ())
        };
        match (now, wanted) {
            (Some(Value::Integer(now)), Value::Integer(wanted)) => {
                search.approach(now, wanted, &|table, number| set(table, Value::Integer(number)));
            }
            (Some(now), wanted) if now != wanted => {
                search.change(|table| set(table, wanted));
            }
            (Some(_) | None, _) => {}
        }
    }
    limits(search);
}

/// Limits are left out of the text when all are as usual.
fn limits(search: &mut Search<'_>) {
    fn table_of(table: &mut Table) -> Option<&mut Table> {
        table.get_mut("params")?.get_mut("limits")?.as_table_mut()
    }
    let usual = Table::try_from(Limits::default()).expect("limits are plain data");
    for (key, wanted) in usual {
        let now = table_of(&mut search.table()).and_then(|limits| limits.get(&key)?.as_integer());
        let (Some(now), Some(wanted)) = (now, wanted.as_integer()) else { continue };
        search.approach(now, wanted, &|table, number| {
            table_of(table)?.insert(key.clone(), Value::Integer(number)).map(|_| ())
        });
    }
}

/// Faults end as soon as they may, if it has to be said at all when they do.
fn calm(search: &mut Search<'_>) {
    let Some(now) = search.best.params.calm_ms.and_then(|calm_ms| i64::try_from(calm_ms).ok()) else {
        return;
    };
    if search.change(|table| table.get_mut("params")?.as_table_mut()?.remove(CALM).map(|_| ())) {
        return;
    }
    search.approach(now, 0, &|table, number| {
        table.get_mut("params")?.as_table_mut()?.insert(CALM.to_owned(), Value::Integer(number)).map(|_| ())
    });
}

/// The run ends as soon as it may.
fn end(search: &mut Search<'_>) {
    let now = i64::try_from(search.best.params.end_ms).unwrap_or(i64::MAX);
    search.approach(now, 1, &|table, number| {
        table.get_mut("params")?.as_table_mut()?.insert(END.to_owned(), Value::Integer(number)).map(|_| ())
    });
}

/// Steps follow each other as soon as they may, and all later ones with them.
fn gaps(search: &mut Search<'_>) {
    for index in 0..search.best.steps.len() {
        let table = search.table();
        let Some(steps) = table.get("steps").and_then(Value::as_array) else { return };
        let at = |step: &Value| step.get(AT).and_then(Value::as_integer);
        let Some(now) = at(&steps[index]) else { continue };
        let earlier = steps[..index].iter().filter_map(at).max().unwrap_or(0);
        search.approach(now, earlier.min(now), &|table, number| {
            let steps = table.get_mut("steps")?.as_array_mut()?;
            for step in &mut steps[index..] {
                if let Some(Value::Integer(at)) = step.get_mut(AT) {
                    *at -= now - number;
                }
            }
            let end = table.get_mut("params")?.get_mut(END)?;
            *end = Value::Integer(end.as_integer()? - (now - number));
            Some(())
        });
    }
}

/// The places of all plain values of the steps.
fn leaves(search: &Search<'_>) -> Vec<Path> {
    let mut found = Vec::new();
    if let Some(steps) = search.table().get("steps") {
        walk(steps, &vec![Segment::Key("steps".to_owned())], &mut |path, value| {
            if !matches!(value, Value::Table(_) | Value::Array(_)) {
                found.push(path.clone());
            }
        });
    }
    found
}

/// Visits every value of a tree, parents first.
fn walk(value: &Value, path: &Path, visit: &mut dyn FnMut(&Path, &Value)) {
    visit(path, value);
    let below = |segment| [path.as_slice(), &[segment]].concat();
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                walk(value, &below(Segment::Key(key.clone())), visit);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                walk(value, &below(Segment::Index(index)), visit);
            }
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
}

fn get<'t>(table: &'t Table, path: &Path) -> Option<&'t Value> {
    let [Segment::Key(first), rest @ ..] = path.as_slice() else { return None };
    rest.iter().try_fold(table.get(first)?, |value, segment| match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(*index),
    })
}

fn get_mut<'t>(table: &'t mut Table, path: &[Segment]) -> Option<&'t mut Value> {
    let [Segment::Key(first), rest @ ..] = path else { return None };
    rest.iter().try_fold(table.get_mut(first)?, |value, segment| match segment {
        Segment::Key(key) => value.get_mut(key),
        Segment::Index(index) => value.get_mut(*index),
    })
}

/// The key that a value stands under: its own, or that of the list it is in.
fn key_of(path: &Path) -> &str {
    let keys = path.iter().rev().find_map(|segment| match segment {
        Segment::Key(key) => Some(key.as_str()),
        Segment::Index(_) => None,
    });
    keys.unwrap_or_default()
}

/// A simpler number, text or switch.
fn leaf(search: &mut Search<'_>, path: &Path) {
    let set = |table: &mut Table, value: Value| get_mut(table, path).map(|place| *place = value);
    // A change before may have removed the place.
    let Some(now) = get(&search.table(), path).cloned() else { return };
    let key = key_of(path);
    match now {
        Value::Integer(number) if !NAMES.contains(&key) => {
            search.approach(number, 0, &|table, number| set(table, Value::Integer(number)));
        }
        Value::Boolean(true) => {
            search.change(|table| set(table, Value::Boolean(false)));
        }
        Value::String(text) if key != "do" => {
            for simpler in simpler_texts(search, key, &text) {
                if search.change(|table| set(table, Value::String(simpler))) {
                    return;
                }
            }
        }
        Value::Integer(_)
        | Value::Boolean(false)
        | Value::String(_)
        | Value::Float(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => {}
    }
}

/// Texts that stand under the same key elsewhere, and the plain one, if they are simpler than `text`.
fn simpler_texts(search: &Search<'_>, key: &str, text: &str) -> Vec<String> {
    let plain = PLAIN.iter().find(|(of, _)| *of == key).map(|(_, plain)| *plain);
    let rank = |text: &str| (plain != Some(text), text.len(), text.to_owned());
    let mut texts: Vec<String> = plain.map(str::to_owned).into_iter().collect();
    if let Some(steps) = search.table().get("steps") {
        walk(steps, &Vec::new(), &mut |path, value| {
            if key_of(path) == key {
                texts.extend(value.as_str().map(str::to_owned));
            }
        });
    }
    texts.retain(|other| rank(other) < rank(text));
    texts.sort_by_key(|text| rank(text));
    texts.dedup();
    texts
}

/// Lists within steps lose what they can lose.
fn lists(search: &mut Search<'_>) {
    let mut found = Vec::new();
    if let Some(steps) = search.table().get("steps") {
        walk(steps, &vec![Segment::Key("steps".to_owned())], &mut |path, value| {
            let length = value.as_array().map_or(0, Vec::len);
            // The list of all steps is for delta debugging.
            found.extend((0..length).rev().filter(|_| path.len() > 1).map(|index| (path.clone(), index)));
        });
    }
    for (path, index) in found {
        search.change(|table| {
            let list = get_mut(table, &path)?.as_array_mut()?;
            (index < list.len()).then(|| list.remove(index)).map(|_| ())
        });
    }
}

/// Keys within steps go if the plan is one without them and really holds less.
fn optional_keys(search: &mut Search<'_>) {
    for path in leaves(search) {
        let Some((Segment::Key(key), parent)) = path.split_last() else { continue };
        let count = leaves(search).len();
        let mut table = search.table();
        let removed =
            get_mut(&mut table, parent).and_then(Value::as_table_mut).and_then(|parent| parent.remove(key));
        let Some(plan) = removed.and_then(|_| Plan::deserialize(table).ok()) else { continue };
        let mut left = 0;
        if let Some(steps) = Table::try_from(&plan).expect("a plan is plain data").get("steps") {
            walk(steps, &Vec::new(), &mut |_, value| {
                left += usize::from(!matches!(value, Value::Table(_) | Value::Array(_)));
            });
        }
        if left < count {
            search.accept(plan);
        }
    }
}

/// A small seed reads better, and says that the draws hardly matter.
fn seed(search: &mut Search<'_>) {
    for seed in 0..OTHER_SEEDS.min(search.best.seed) {
        if search.accept(Plan { seed, ..search.best.clone() }) {
            return;
        }
    }
}
