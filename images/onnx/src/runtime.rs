//! ONNX Runtime: the library, its one environment, and sessions of Hone's graphs.
//!
//! The library reports to its makers from Linux, too, unless it is told not to before it is opened: it writes a device id
//! and a data base below the home directory and sends them from a thread of its own (microsoft/onnxruntime#27379).
//! Its API for that comes after the first report (#25573). So [`Runtime::load`] refuses to open it where
//! [`QUIET`] is not set, and [`silence`] sets it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ort::environment::{Environment, GlobalThreadPoolOptions};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Tensor, TensorRef};

use crate::error::{Result, TrainError};
use crate::graph::Built;

/// ONNX Runtime takes one environment in a process, for good.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// The variable that keeps ONNX Runtime from reporting and from writing what it would report: it must be `1` before the
/// library is opened (onnxruntime, docs/Privacy.md).
pub const QUIET: &str = "ORT_DISABLE_TELEMETRY";

/// Sees to it that [`QUIET`] is set, by beginning this program anew where it is not: an environment cannot be changed
/// safely once there are threads, and a library's may be there from the first line of `main`.
///
/// # Errors
/// The program cannot be started again.
pub fn silence() -> Result<()> {
    if is_quiet() {
        return Ok(());
    }
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_else(|| OsString::from("hone-train"));
    let program = PathBuf::from("/proc/self/exe");
    let source = Command::new(&program).arg0(name).args(words).env(QUIET, "1").exec();
    Err(TrainError::Io { operation: "start again, without telemetry,", path: program, source })
}

fn is_quiet() -> bool {
    std::env::var_os(QUIET).is_some_and(|value| value == "1")
}

/// A loaded ONNX Runtime with one thread pool for all sessions.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: Environment,
    threads: usize,
}

/// Where the library is: ORT_DYLIB_PATH, or `../lib/libonnxruntime.so` seen from this program.
pub fn library_path() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return PathBuf::from(path);
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.to_owned()));
    beside.unwrap_or_else(|| PathBuf::from("/hone")).join("lib/libonnxruntime.so")
}

/// Threads for computing: what was asked for, or the processors this process may use.
pub fn thread_count(asked: Option<usize>) -> usize {
    let available = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    asked.unwrap_or(available).clamp(1, 256)
}

impl Runtime {
    /// Loads the library at `path`. A second call in a process gets the first call's thread pool.
    ///
    /// # Errors
    /// There is no such library, or it cannot be used, or it would report to its makers ([`QUIET`]).
    pub fn load(path: &Path, threads: usize) -> Result<Self> {
        if !is_quiet() {
            return Err(TrainError::setting(format!("environment variable {QUIET}"), "not 1", 1));
        }
        if let Some(environment) = ENVIRONMENT.get() {
            return Ok(Self { environment: environment.clone(), threads });
        }
        let builder = ort::init_from(path)
            .map_err(|source| TrainError::Library { path: path.to_owned(), source: Box::new(source) })?;
        let fail = || TrainError::runtime("start the thread pool");
        // Threads that spin for the next operation cost a busy machine twice the processor time (measured), and
        // training is background work.
        let pool = GlobalThreadPoolOptions::default().with_spin_control(false).map_err(fail())?;
        let pool = pool.with_intra_threads(threads).map_err(fail())?;
        let pool = pool.with_inter_threads(1).map_err(fail())?;
        // Masked attention leaves numbers below 1e-38, which processors multiply a hundred times slower than zeros.
        let pool = pool.with_flush_to_zero().map_err(fail())?;
        let builder = builder.with_name("hone").with_telemetry(false).with_global_thread_pool(pool);
        let environment = builder.build().map_err(fail())?;
        environment.set_log_level(ort::logging::LogLevel::Error);
        Ok(Self { environment: ENVIRONMENT.get_or_init(|| environment).clone(), threads })
    }

    /// Threads of the pool.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// A session for `graph`, called `name` in errors.
    ///
    /// # Errors
    /// ONNX Runtime refuses it.
    pub fn program(&self, name: &'static str, graph: &Built) -> Result<Program> {
        let fail = || TrainError::runtime(format!("build graph {name}"));
        let builder = Session::builder(&self.environment).map_err(fail())?;
        // Prepacked copies of weights that are inputs are of no use, and of initializers there are none.
        let builder = builder.with_prepacking(false).map_err(|e| fail()(e.into()))?;
        // Patterns reserve a block for each shape that was ever seen: 55 MB more at the peak, and no faster (measured).
        let builder = builder.with_memory_pattern(false).map_err(|e| fail()(e.into()))?;
        // Numbers below 1e-38 are zero for this thread too, which computes along with the pool.
        let mut builder = builder.with_flush_to_zero().map_err(|e| fail()(e.into()))?;
        let session = builder.commit_from_memory(&graph.bytes).map_err(fail())?;
        let inputs = session.inputs().iter().map(|input| input.name().to_owned()).collect();
        Ok(Program { session, name, inputs, outputs: graph.outputs.clone() })
    }
}

/// A graph ready to run.
#[derive(Debug)]
pub struct Program {
    session: Session,
    name: &'static str,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Program {
    /// Runs it; `feed` gives each input by name. The results come in the order of [`Self::outputs`].
    ///
    /// # Errors
    /// An input is not there, or ONNX Runtime fails.
    pub fn run<'v>(&mut self, feed: impl Fn(&str) -> Result<SessionInputValue<'v>>) -> Result<Vec<DynValue>> {
        let values = self.inputs.iter().map(|name| feed(name)).collect::<Result<Vec<_>>>()?;
        let name = self.name;
        let mut results = self.session.run(&values[..]).map_err(TrainError::runtime(format!("run graph {name}")))?;
        let names: Vec<String> = results.keys().map(str::to_owned).collect();
        let out: Vec<DynValue> = names.iter().filter_map(|name| results.remove(name)).collect();
        if out.len() == self.outputs.len() {
            return Ok(out);
        }
        Err(TrainError::setting(format!("graph {name}"), format!("{} outputs", out.len()), self.outputs.len()))
    }

    /// What each result stands for.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }
}

/// Borrows floats as an input of this shape.
pub fn floats<'v>(dims: &[usize], data: &'v [f32]) -> Result<SessionInputValue<'v>> {
    let view = TensorRef::from_array_view((dims.to_vec(), data)).map_err(TrainError::runtime("make a tensor"))?;
    Ok(view.into())
}

/// Borrows integers as an input of this shape.
pub fn integers<'v>(dims: &[usize], data: &'v [i64]) -> Result<SessionInputValue<'v>> {
    let view = TensorRef::from_array_view((dims.to_vec(), data)).map_err(TrainError::runtime("make a tensor"))?;
    Ok(view.into())
}

/// Makes a value of floats.
pub fn tensor(dims: &[usize], data: Vec<f32>) -> Result<DynValue> {
    let tensor = Tensor::from_array((dims.to_vec(), data)).map_err(TrainError::runtime("make a tensor"))?;
    Ok(tensor.into_dyn())
}

/// A value's floats.
pub fn read(value: &DynValue) -> Result<&[f32]> {
    let (_, data) = value.try_extract_tensor::<f32>().map_err(TrainError::runtime("read a tensor"))?;
    Ok(data)
}
