//! Turns the git history of a text file into keystrokes of several authors, in the shape of the recorded traces.
//!
//! Every commit that changed the file becomes edits to it: each changed stretch is deleted and typed anew, character by
//! character, pasted in chunks where it is long. The stretches of one commit are shared out among the authors, who type at
//! the same time, each not knowing what the others do; the next commit builds on all of them. Since stretches of one commit
//! are apart by at least one unchanged line, the outcome is the file as committed, whatever the interleaving.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

/// A stretch of at most this many characters is typed; a longer one is pasted in pieces of [`PASTE_CHARS`].
const TYPED_CHARS_MAX: usize = 160;
/// Characters pasted at once.
const PASTE_CHARS: usize = 40;

/// A history in the shape of the concurrent traces.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keystrokes {
    /// Always `concurrent`.
    pub kind: &'static str,
    /// The file as last committed.
    pub end_content: String,
    /// How many authors.
    pub num_agents: usize,
    /// Edits, each after those it builds on.
    pub txns: Vec<Edit>,
}

/// One edit of one author.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    /// The latest edits it builds on, by index.
    pub parents: Vec<usize>,
    /// How many edits name it as a parent.
    pub num_children: usize,
    /// Its author.
    pub agent: usize,
    /// Position, characters deleted, text inserted; positions count Unicode code points.
    pub patches: Vec<(usize, usize, String)>,
}

/// A stretch of lines replaced by one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    /// In code points of the text before the commit.
    position: usize,
    deleted: usize,
    inserted: String,
}

/// The history of `path` in the repository at `repo`, up to HEAD; none when git knows no such file.
pub fn of_file(repo: &Path, path: &str, agents: usize) -> Option<Keystrokes> {
    let commits = git(repo, &["log", "--reverse", "--first-parent", "-m", "--format=%H", "--", path])?;
    let mut keystrokes =
        Keystrokes { kind: "concurrent", end_content: String::new(), num_agents: agents, txns: Vec::new() };
    let mut heads: Vec<usize> = Vec::new();
    for (number, commit) in commits.lines().enumerate() {
        // A commit that deleted the file leaves it empty.
        let after = git(repo, &["show", &format!("{commit}:{path}")]).unwrap_or_default();
        let stretches = stretches(&keystrokes.end_content, &after);
        type_commit(&mut keystrokes, &mut heads, number, &stretches);
        keystrokes.end_content = after;
    }
    for index in 0..keystrokes.txns.len() {
        for parent in keystrokes.txns[index].parents.clone() {
            keystrokes.txns[parent].num_children += 1;
        }
    }
    (!keystrokes.txns.is_empty()).then_some(keystrokes)
}

fn git(repo: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(repo).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Shares the stretches of one commit out among the authors and interleaves their keystrokes.
fn type_commit(keystrokes: &mut Keystrokes, heads: &mut Vec<usize>, commit: usize, stretches: &[Stretch]) {
    let agents = keystrokes.num_agents;
    let mut typing: Vec<Vec<(usize, usize, String)>> = vec![Vec::new(); agents];
    // From the end backwards, so that an author's later stretches do not shift the earlier ones.
    for (number, stretch) in stretches.iter().enumerate().rev() {
        type_stretch(&mut typing[(commit + number) % agents], stretch);
    }
    let base = heads.clone();
    let mut last: Vec<Option<usize>> = vec![None; agents];
    let mut queues: Vec<_> = typing.into_iter().map(Vec::into_iter).collect();
    loop {
        let mut typed = false;
        for agent in 0..agents {
            // A few keys each in turn, as people alternate who type at once.
            for patch in queues[agent].by_ref().take(5) {
                let index = keystrokes.txns.len();
                let parents = last[agent].map_or_else(|| base.clone(), |edit| vec![edit]);
                keystrokes.txns.push(Edit { parents, num_children: 0, agent, patches: vec![patch] });
                last[agent] = Some(index);
                typed = true;
            }
        }
        if !typed {
            break;
        }
    }
    let ends: Vec<usize> = last.into_iter().flatten().collect();
    if !ends.is_empty() {
        *heads = ends;
    }
}

fn type_stretch(keys: &mut Vec<(usize, usize, String)>, stretch: &Stretch) {
    let mut position = stretch.position;
    let mut deleted = stretch.deleted;
    if deleted > 0 && deleted <= 8 {
        // Backspace, from behind.
        keys.extend((0..deleted).rev().map(|offset| (position + offset, 1, String::new())));
        deleted = 0;
    }
    let chars: Vec<char> = stretch.inserted.chars().collect();
    let piece = if chars.len() <= TYPED_CHARS_MAX { 1 } else { PASTE_CHARS };
    for chunk in chars.chunks(piece) {
        keys.push((position, std::mem::take(&mut deleted), chunk.iter().collect()));
        position += chunk.len();
    }
    if deleted > 0 {
        keys.push((position, deleted, String::new()));
    }
}

/// What differs, by lines, trimmed to the characters that differ; apart by at least one unchanged line.
fn stretches(before: &str, after: &str) -> Vec<Stretch> {
    let (old, new): (Vec<&str>, Vec<&str>) =
        (before.split_inclusive('\n').collect(), after.split_inclusive('\n').collect());
    let mut position = 0;
    let mut at = 0;
    let mut found = Vec::new();
    for (old_lines, new_lines) in changed_lines(&old, &new) {
        position += old[at..old_lines.start].iter().map(|line| line.chars().count()).sum::<usize>();
        let (removed, added) = (old[old_lines.clone()].concat(), new[new_lines].concat());
        found.push(trimmed(position, &removed, &added));
        position += removed.chars().count();
        at = old_lines.end;
    }
    found
}

fn trimmed(position: usize, removed: &str, added: &str) -> Stretch {
    let (removed, added): (Vec<char>, Vec<char>) = (removed.chars().collect(), added.chars().collect());
    let start = removed.iter().zip(&added).take_while(|(a, b)| a == b).count();
    let (removed, added) = (&removed[start..], &added[start..]);
    let end = removed.iter().rev().zip(added.iter().rev()).take_while(|(a, b)| a == b).count();
    let inserted = added[..added.len() - end].iter().collect();
    Stretch { position: position + start, deleted: removed.len() - end, inserted }
}

/// Ranges of lines to replace, in order, by a longest common subsequence. Quadratic in the lines that differ, which for
/// source files is nothing.
fn changed_lines(old: &[&str], new: &[&str]) -> Vec<(std::ops::Range<usize>, std::ops::Range<usize>)> {
    let (rows, columns) = (old.len() + 1, new.len() + 1);
    let mut longest = vec![0u32; rows * columns];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * columns + j] = if old[i] == new[j] {
                longest[(i + 1) * columns + j + 1] + 1
            } else {
                longest[(i + 1) * columns + j].max(longest[i * columns + j + 1])
            };
        }
    }
    let mut changes = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        let (from_old, from_new) = (i, j);
        while (i < old.len() || j < new.len()) && !(i < old.len() && j < new.len() && old[i] == new[j]) {
            if j == new.len() || (i < old.len() && longest[(i + 1) * columns + j] >= longest[i * columns + j + 1]) {
                i += 1;
            } else {
                j += 1;
            }
        }
        if (from_old, from_new) != (i, j) {
            changes.push((from_old..i, from_new..j));
        }
        while i < old.len() && j < new.len() && old[i] == new[j] {
            i += 1;
            j += 1;
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(before: &str, stretches: &[Stretch]) -> String {
        let mut text: Vec<char> = before.chars().collect();
        for stretch in stretches.iter().rev() {
            text.splice(stretch.position..stretch.position + stretch.deleted, stretch.inserted.chars());
        }
        text.into_iter().collect()
    }

    #[test]
    fn stretches_lead_from_one_text_to_the_next() {
        let texts = [
            "",
            "one\ntwo\nthree\n",
            "one\n2\nthree\nfour",
            "zero\none\nthree\nfour\n",
            "three\nüne 🧶\nfour\n",
            "",
            "last",
        ];
        for before in texts {
            for after in texts {
                let stretches = stretches(before, after);
                assert_eq!(applied(before, &stretches), after, "{before:?} -> {after:?}: {stretches:?}");
                let mut keys = Vec::new();
                stretches.iter().rev().for_each(|stretch| type_stretch(&mut keys, stretch));
                let mut text: Vec<char> = before.chars().collect();
                for (position, deleted, inserted) in keys {
                    text.splice(position..position + deleted, inserted.chars());
                }
                assert_eq!(text.into_iter().collect::<String>(), after, "{before:?} -> {after:?}, typed");
            }
        }
    }

    #[test]
    fn stretches_of_one_commit_are_apart() {
        let stretches = stretches("a\nb\nc\nd\ne\n", "A\nb\nC\nd\nE\n");
        assert_eq!(stretches.iter().map(|stretch| stretch.position).collect::<Vec<_>>(), [0, 4, 8]);
    }
}
