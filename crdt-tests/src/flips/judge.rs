//! Opens a damaged directory as `weft serve` does and says what became of the documents.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weft::data_dir::DataDir;
use weft::hub::{Hub, HubOptions, ListQuery, VerifyQuery};
use weft::ids::DocName;
use weft::journal::{Journal, JournalOptions};
use weft::limits::{SEGMENT_BYTES_MIN, VERIFY_MAX};
use weft::store::SledStore;

use super::damage::Damage;
use super::template::{DOCUMENTS, Template};

/// What came of one case: what was served, and if that was not everything, what a repair made of it. The last four must
/// never happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Every document is as it was, and nothing was said.
    Right,
    /// Every document is as it was, and the damage was reported.
    RightAndReported,
    /// Some documents are refused by name, or are as they were earlier, which was reported; the others are right. After a
    /// repair all of them open.
    Named,
    /// The start is refused; after a repair every document is as it was.
    RefusedThenRight(String),
    /// The start is refused; after a repair some documents are as they were earlier, or are gone, which was reported.
    RefusedThenLess(String),
    /// The start is refused, and there is nothing to repair: the directory says that a newer version wrote it.
    Refused(String),
    /// After a repair something is still wrong.
    NotRepaired(String),
    /// Some document is as it was earlier, and nobody said so.
    Silent(String),
    /// Some document holds what it never held.
    Wrong(String),
    /// The process hung or ended.
    Died(String),
}

impl Verdict {
    /// Its name, without what belongs to the case.
    pub fn kind(&self) -> &'static str {
        match self {
            Verdict::Right => "right",
            Verdict::RightAndReported => "right, reported",
            Verdict::Named => "named",
            Verdict::RefusedThenRight(_) => "refused, repaired",
            Verdict::RefusedThenLess(_) => "refused, repaired with loss",
            Verdict::Refused(_) => "refused for good",
            Verdict::NotRepaired(_) => "NOT REPAIRED",
            Verdict::Silent(_) => "SILENT",
            Verdict::Wrong(_) => "WRONG",
            Verdict::Died(_) => "DIED",
        }
    }
}

/// What is compared of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    text: String,
    state_vector: Vec<(u64, u32)>,
    parked: u64,
}

type Served = BTreeMap<&'static str, Result<Facts, String>>;

/// Everything the opened server has to say.
struct Look {
    served: Served,
    listed: Result<Vec<String>, String>,
    /// What `weft verify` says then.
    problems: Vec<String>,
}

async fn look(dir: &Path) -> Result<Look, String> {
    let data = DataDir::open(dir).map_err(|e| e.to_string())?;
    let hub = hub(&data).await?;
    let listed = hub.list(ListQuery::default()).await;
    let listed = listed.map(|docs| docs.iter().map(|doc| doc.name.to_string()).collect()).map_err(|e| e.to_string());
    let mut served = Served::new();
    for name in DOCUMENTS {
        served.insert(name, facts(&hub, name).await.map_err(|e| e.to_string()));
    }
    let problems = verify(&hub, false).await.unwrap_or_else(|why| vec![why]);
    // What cannot be drained has been refused or reported before.
    let _ = hub.drain().await;
    Ok(Look { served, listed, problems })
}

async fn hub(data: &DataDir) -> Result<Hub, String> {
    // Small segments: what is prepared for edits that never come is not what is looked at.
    let options = JournalOptions {
        segment_bytes: SEGMENT_BYTES_MIN,
        quarantine: Some(data.quarantine()),
        ..JournalOptions::default()
    };
    let (journal, _) = Journal::open(&data.journal(), options).map_err(|e| e.to_string())?;
    let store = SledStore::open(data.store()).map_err(|e| e.to_string())?;
    let options = HubOptions { quarantine: Some(data.quarantine()), ..HubOptions::default() };
    Hub::start(journal, Arc::new(store), options).await.map_err(|e| e.to_string())
}

async fn facts(hub: &Hub, name: &str) -> Result<Facts, weft::hub::HubError> {
    let doc = DocName::parse(name).expect("a valid name");
    let report = hub.show(&doc).await?;
    Ok(Facts { text: hub.text(&doc).await?, state_vector: report.state_vector, parked: report.parked_updates })
}

/// Log lines of one case.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn take(&self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *self.0.lock().expect("not poisoned"))).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `weft verify` says of the files before anything is opened.
fn survey(dir: &Path) -> Result<Vec<String>, String> {
    let data = DataDir::open(dir).map_err(|e| e.to_string())?;
    let journal = Journal::survey(&data.journal()).map_err(|e| e.to_string())?;
    let mut flaws: Vec<String> = journal.damaged.iter().map(|damage| damage.why.to_owned()).collect();
    flaws.extend(SledStore::survey(&data.store()).map_err(|e| e.to_string())?.flaws);
    Ok(flaws)
}

/// What `weft verify --repair` does on a stopped directory; gives what it found.
async fn repair(dir: &Path) -> Result<Vec<String>, String> {
    let data = DataDir::open(dir).map_err(|e| e.to_string())?;
    let mut found = SledStore::survey(&data.store()).map_err(|e| e.to_string())?.flaws;
    if !found.is_empty() {
        SledStore::salvage(&data.store(), &data.quarantine().join("store-1")).map_err(|e| e.to_string())?;
    }
    let hub = hub(&data).await?;
    let verified = verify(&hub, true).await;
    let _ = hub.drain().await;
    found.extend(verified?);
    Ok(found)
}

async fn verify(hub: &Hub, repair: bool) -> Result<Vec<String>, String> {
    let query = VerifyQuery { limit: VERIFY_MAX, repair, ..VerifyQuery::default() };
    let page = hub.verify(query).await.map_err(|e| e.to_string())?;
    let problems = page.docs.iter().flat_map(|doc| doc.problems.iter().map(|p| format!("{}: {}", doc.name, p.why)));
    Ok(problems.chain(page.kept).collect())
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_stack_size(64 << 20)
        .build()
        .expect("a runtime");
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// Repairs what did not come whole, and judges what that gave. `logged` says whether the start that came before told of
/// it: the end of the journal that looks like a write cut short is told then, and only then, since it is put in order.
fn after_repair(truth: &Served, dir: &Path, first: Verdict, logged: bool) -> Verdict {
    let refused = match &first {
        Verdict::Refused(why) => Some(why.clone()),
        Verdict::Named => None,
        Verdict::Right | Verdict::RightAndReported => return first,
        other => return other.clone(),
    };
    if refused.as_ref().is_some_and(|why| why.contains("newer weft") || why.contains("FORMAT")) {
        return first;
    }
    let found = match block_on(repair(dir)) {
        Ok(found) => found,
        Err(why) => return Verdict::NotRepaired(format!("the repair fails: {why}")),
    };
    let look = match block_on(look(dir)) {
        Ok(look) => look,
        Err(why) => return Verdict::NotRepaired(format!("it still does not open: {why}")),
    };
    if !look.problems.is_empty() {
        return Verdict::NotRepaired(format!("still wrong: {:?}", look.problems));
    }
    let mut less = false;
    for (name, facts) in &look.served {
        let expected = truth[name].as_ref().expect("the truth is whole");
        match facts {
            Ok(facts) if facts == expected => {}
            Ok(facts) if expected.text.starts_with(&facts.text) => less = true,
            Ok(facts) => return Verdict::Wrong(format!("{name} after the repair: {}", facts.text)),
            Err(why) if why.contains("does not exist") => less = true,
            Err(why) => return Verdict::NotRepaired(why.clone()),
        }
    }
    match refused {
        None if less && found.is_empty() && !logged => Verdict::Silent("the repair found nothing".to_owned()),
        None => Verdict::Named,
        Some(why) if less => Verdict::RefusedThenLess(why),
        Some(why) => Verdict::RefusedThenRight(why),
    }
}

fn judge(truth: &Served, look: Result<Look, String>, log: &str) -> Verdict {
    let Look { served, listed, problems } = match look {
        Ok(look) => look,
        Err(why) => return Verdict::Refused(why),
    };
    let reported = !log.is_empty() || !problems.is_empty();
    let (mut all_right, mut silent) = (true, None);
    for (name, facts) in &served {
        let expected = truth[name].as_ref().expect("the truth is whole");
        match facts {
            Ok(facts) if facts == expected => {}
            Ok(facts) => {
                all_right = false;
                if !expected.text.starts_with(&facts.text) {
                    return Verdict::Wrong(format!("{name}: {} instead of {}", facts.text, expected.text));
                }
                silent = silent.or(Some(format!("{name}: {facts:?} instead of {expected:?}")));
            }
            Err(why) => {
                all_right = false;
                // Not there at all: that is a loss and not a refusal.
                if why.contains("does not exist") {
                    silent = silent.or(Some(why.clone()));
                }
            }
        }
    }
    let all_listed = listed.is_ok_and(|listed| listed == DOCUMENTS);
    match silent {
        Some(what) if !reported => Verdict::Silent(what),
        _ if !all_right || !all_listed => Verdict::Named,
        _ if reported => Verdict::RightAndReported,
        _ => Verdict::Right,
    }
}

/// The life of a worker: reads one [`Damage`] a line from stdin, answers with one [`Verdict`] a line on stdout. Copies of
/// `template` are made in `scratch`.
pub fn worker(template: &Path, scratch: &Path) {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    // sled's panics are caught and become errors; their backtraces would fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let template = Template::read(template);
    let copy = scratch.join("truth");
    template.write(&copy);
    let truth = block_on(look(&copy)).expect("the undamaged directory opens");
    assert!(truth.served.values().all(Result::is_ok), "the undamaged directory is whole");
    assert_eq!(log.take(), "", "nothing is wrong with the undamaged directory");
    let verbose = std::env::var_os("WEFT_FLIPS_VERBOSE").is_some();
    for (number, line) in std::io::stdin().lock().lines().map_while(Result::ok).enumerate() {
        let damage: Damage = serde_json::from_str(&line).expect("a case");
        // Threads of a case that was refused may still be at work in its directory.
        let _ = std::fs::remove_dir_all(scratch);
        let copy = scratch.join(number.to_string());
        template.write(&copy);
        damage.apply(&copy);
        let surveyed = survey(&copy);
        let looked = block_on(look(&copy));
        let log = log.take();
        let verdict = match (judge(&truth.served, looked, &log), surveyed) {
            // Told by `weft verify` before anything was opened.
            (Verdict::Silent(_), Ok(flaws)) if !flaws.is_empty() => Verdict::Named,
            (verdict, _) => verdict,
        };
        let verdict = after_repair(&truth.served, &copy, verdict, !log.is_empty());
        if verbose {
            eprintln!("{damage:?}\n{verdict:?}\n{log}");
        }
        println!("{}", serde_json::to_string(&verdict).expect("encodes"));
    }
    let _ = std::fs::remove_dir_all(scratch);
}
