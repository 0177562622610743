//! No circle of files within a package: where two files use each other they are one, or a third is missing.
//!
//! A file uses another one where it names something of it, in a `use` or by a path that begins with `crate`,
//! `super` or one of its own modules. What a module only passes on (`pub use`) counts for the file that has
//! it. What a file takes from a module that it lies in (`use super::Hub` in `hub/rooms.rs`) does not count,
//! as a part knows its whole; the whole's use of its parts does. Unit tests at the end of a file do not
//! count.

use crate::{assert_none, sources};
use std::collections::{BTreeMap, BTreeSet};

/// Module names from the root of a package down.
type Path = Vec<String>;

#[derive(Default)]
struct Package {
    /// By module: its file, and what it names.
    modules: BTreeMap<Path, (String, BTreeSet<Path>)>,
    passed_on: BTreeMap<Path, Path>,
}

fn names(path: &str) -> Path {
    path.split("::").map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn expand(tree: &str, prefix: &[String], paths: &mut Vec<Path>) {
    let Some((head, rest)) = tree.split_once('{') else {
        let path = names(tree.split(" as ").next().expect("the first part"));
        if !path.is_empty() {
            paths.push([prefix, &path].concat());
        }
        return;
    };
    let (prefix, mut depth) = ([prefix, &names(head)].concat(), 0);
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    for part in inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    }) {
        expand(part, &prefix, paths);
    }
}

/// The text of a `use` at the end of a statement, and whether it passes on what it names.
fn use_tree(statement: &str) -> Option<(bool, &str)> {
    let at = statement.rmatch_indices("use ").map(|(at, _)| at).find(|at| {
        let before = statement[..*at].rsplit('\n').next().unwrap_or_default().trim();
        before.is_empty() || before.starts_with("pub")
    })?;
    let before = statement[..at].rsplit('\n').next().unwrap_or_default();
    Some((before.contains("pub"), &statement[at + "use ".len()..]))
}

impl Package {
    fn read(folder: &str, files: &[(String, String)]) -> Self {
        let mut package = Self::default();
        let of_package = |path: &str| path.strip_prefix(folder)?.strip_prefix('/').map(ToOwned::to_owned);
        let files: Vec<(Path, &String, String)> = files
            .iter()
            .filter_map(|(path, text)| {
                let below = of_package(path)?;
                let module = below.trim_end_matches(".rs").trim_end_matches("/mod");
                let module = if module == "lib" { "" } else { module };
                let code = text.split("#[cfg(test)]\nmod tests {").next()?;
                let code = code.lines().map(|line| line.split("//").next().unwrap_or_default());
                let code = code.collect::<Vec<_>>().join("\n");
                (!below.starts_with("bin/") && below != "main.rs")
                    .then(|| (names(&module.replace('/', "::")), path, code))
            })
            .collect();
        for (module, path, _) in &files {
            package.modules.insert(module.clone(), ((*path).clone(), BTreeSet::new()));
        }
        for (module, _, code) in &files {
            package.note_names(module, code);
        }
        package
    }

    fn note_names(&mut self, module: &Path, code: &str) {
        let mut named = Vec::new();
        for statement in code.split(';') {
            let Some((passes_on, tree)) = use_tree(statement) else {
                let words = statement.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                named.extend(words.filter(|word| word.contains("::")).map(names));
                continue;
            };
            let mut paths = Vec::new();
            expand(tree, &[], &mut paths);
            for path in paths.iter().filter(|_| passes_on) {
                if let (Some(whole), Some(last)) = (self.absolute(module, path), path.last()) {
                    self.passed_on.insert([module.as_slice(), std::slice::from_ref(last)].concat(), whole);
                }
            }
            named.extend(paths);
        }
        let named: BTreeSet<Path> = named.iter().filter_map(|path| self.absolute(module, path)).collect();
        self.modules.get_mut(module).expect("just read").1 = named;
    }

    /// `None`: of another package.
    fn absolute(&self, at: &[String], path: &[String]) -> Option<Path> {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let own = self.modules.contains_key(&[at, path.get(..1)?].concat());
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([at, &path[1..]].concat()),
            "super" => Some([&at[..at.len().checked_sub(ups)?], &path[ups..]].concat()),
            _ => own.then(|| [at, path].concat()),
        }
    }

    /// The module that has what is named.
    fn home(&self, path: &[String]) -> Path {
        let ends = (0..=path.len()).rev().map(|end| path.split_at(end));
        for (module, rest) in ends {
            if self.modules.contains_key(module) {
                return module.to_vec();
            }
            if let Some(whole) = self.passed_on.get(module) {
                return self.home(&[whole.as_slice(), rest].concat());
            }
        }
        Vec::new()
    }

    /// Which file uses which, as far as they lie on circles.
    fn circles(&self) -> BTreeSet<(&str, &str)> {
        let mut arrows = BTreeSet::new();
        for (module, (file, named)) in &self.modules {
            for home in named.iter().map(|path| self.home(path)).filter(|home| !module.starts_with(home)) {
                arrows.insert((file.as_str(), self.modules[&home].0.as_str()));
            }
        }
        // Whatever uses no other file, or is used by none, lies on no circle.
        loop {
            let (users, used): (BTreeSet<_>, BTreeSet<_>) = arrows.iter().copied().unzip();
            let before = arrows.len();
            arrows.retain(|(from, to)| users.contains(to) && used.contains(from));
            if arrows.len() == before {
                return arrows;
            }
        }
    }
}

#[test]
fn files_use_each_other_in_no_circle() {
    let files = sources(&[".rs"]);
    let mut circles = Vec::new();
    let manifests = sources(&["Cargo.toml"]);
    let packages = manifests.iter().filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"));
    let packages = packages.filter(|path| path.starts_with("relay") || path.starts_with("signaling"));
    for folder in packages.map(|package| format!("{package}/src")) {
        for (from, to) in Package::read(&folder, &files).circles() {
            circles.push(format!("{from} uses {to}"));
        }
    }
    assert_none("files on circles", &circles);
}

#[test]
fn a_circle_is_found_through_whatever_leads_to_it() {
    let file = |name: &str, text: &str| (format!("p/src/{name}.rs"), text.to_owned());
    let circles = |files: &[(String, String)]| Package::read("p/src", files).circles().len();
    let lib = file("lib", "mod a;\npub mod b;\npub use b::Thing;");
    for (a, b, found) in [
        ("use crate::b::{self, Other};", "use crate::a::{x::{Y}, Z};", 2),
        ("use crate::Thing;", "fn f() { super::a::g(1) }", 2),
        ("fn f() -> crate::b::Thing;", "// crate::a::f\nfn f() {}", 0),
        ("use crate::b::Thing;", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::a::X;\n}", 0),
    ] {
        assert_eq!(circles(&[lib.clone(), file("a", a), file("b", b)]), found, "{a} {b}");
    }
    let parts = [file("a", "mod x;\nmod y;\nuse x::X;"), file("a/x", "use super::A;"), file("a/y", "")];
    assert_eq!(circles(&parts), 0, "a part knows its whole");
    let parts = [file("a/x", "use super::y::Y;"), file("a/y", "use super::x::X;")];
    assert_eq!(circles(&parts), 2);
}
