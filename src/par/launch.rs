//! From a verb's parts to a job that workers can run.

use std::sync::Arc;

use bytemuck::Pod;

use crate::error::{Error, TaskError};
use crate::memory::block::Block;
use crate::numeric::Store;
use crate::pool::chunking::Chunking;
use crate::pool::engine::Engine;
use crate::pool::flight::Keep;
use crate::pool::launch::{JobOutcome, Launch};
use crate::pool::submit::span_of;
use crate::pool::terms::{Grain, JobTerms};
use crate::protocol::context::Context;
use crate::protocol::range::{Kernel, RangeJob, Span, kernel_id};
use crate::shared::{SharedSlice, SharedVec};

use super::isolate::blank;
use super::job::Step;

/// Below this much input and output a second worker is woken only if the first finds the elements
/// costly.
const LARGE_SIZE: u64 = 1 << 20;
/// A streaming store pays from here on: smaller chunks stay in the cache for their reader.
const STREAMED_CHUNK_SIZE: u64 = 128 << 10;

/// What a verb wants done.
pub(super) struct Verb<C, I, O> {
    pub(super) kernel: Kernel,
    pub(super) context: C,
    pub(super) inputs: I,
    pub(super) output: O,
    pub(super) shape: Shape,
}

/// The bytes and elements of a job.
pub(super) struct Shape {
    pub(super) inputs: [Span; 2],
    pub(super) output: Span,
    pub(super) cut: Cut,
    pub(super) len: u64,
    /// Running a chunk twice does no harm.
    pub(super) pure_function: bool,
    pub(super) grain: Grain,
}

/// How the range is to be cut.
pub(super) enum Cut {
    /// For speed.
    Guided,
    /// For results that must not depend on the number of workers.
    Even(Chunking),
    /// Not at all.
    Whole,
}

/// What a job keeps alive until no worker can touch it.
struct Parts<C, I, O> {
    _context: (C, Option<Block>),
    _inputs: I,
    output: O,
}

/// Describes a job to the pool.
fn launch<C, M, I, O>(engine: &Arc<Engine>, verb: Verb<C, I, O>) -> Result<Launch, (Error, O)>
where
    C: Context<M> + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    let Verb {
        kernel,
        context,
        inputs,
        output,
        shape,
    } = verb;
    let function = kernel;
    let prepared = kernel_id(function)
        .map_err(Error::from)
        .and_then(|kernel| Ok((kernel, engine.place_context(&context)?)));
    let (kernel, block) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Err((error, output)),
    };
    let span = block.as_ref().map_or(Span::default(), span_of);
    let size = shape.inputs[0].size + shape.inputs[1].size + shape.output.size;
    let streaming = matches!(
        Store::for_output(shape.output.size as usize),
        Store::Streaming
    );
    let element = shape.output.size.checked_div(shape.len).unwrap_or(0).max(1);
    let at_least = if streaming {
        STREAMED_CHUNK_SIZE / element
    } else {
        1
    };
    let chunking = match shape.cut {
        Cut::Guided => Chunking::guided(shape.len, engine.workers(), at_least),
        Cut::Even(chunking) => chunking,
        Cut::Whole => Chunking::single(shape.len),
    };
    let job = RangeJob {
        kernel,
        context: span,
        inputs: shape.inputs,
        output: shape.output,
        streaming,
        fail_fast: true,
        trial: false,
        helped: false,
        element_limit: 0,
    };
    let keep: Keep = Box::new(Parts {
        _context: (context, block),
        _inputs: inputs,
        output,
    });
    Ok(Launch {
        caller: None,
        share: None,
        job,
        function,
        chunking,
        pure_function: shape.pure_function,
        grain: shape.grain,
        large: size >= LARGE_SIZE,
        terms: JobTerms::default(),
        keep,
    })
}

/// The step of a verb whose output is the caller's in the end.
pub(super) fn into_fresh<C, M, I, O>(
    engine: &Arc<Engine>,
    verb: Verb<C, I, O>,
) -> Result<Step<'static, O>, Error>
where
    C: Context<M> + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    into_fresh_then(engine, verb, |_, output| Ok(Step::Ready(output)))
}

/// The step of a verb that goes on with its output once it is there.
pub(super) fn into_fresh_then<C, M, I, O, P>(
    engine: &Arc<Engine>,
    verb: Verb<C, I, O>,
    then: impl FnOnce(&Arc<Engine>, O) -> Result<Step<'static, P>, Error> + Send + 'static,
) -> Result<Step<'static, P>, Error>
where
    C: Context<M> + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    let launch = launch(engine, verb).map_err(|(error, _)| error)?;
    Ok(Step::Run(
        launch,
        Box::new(|engine, outcome| {
            let (result, output) = recover::<C, I, O>(outcome);
            result?;
            then(engine, output)
        }),
    ))
}

/// The step of a verb that works on a vector of the caller's: the buffer leaves `home` now and
/// comes back when the job has ended, whatever came of it.
pub(super) fn into_existing<'a, C, M, I, R>(
    engine: &Arc<Engine>,
    verb: Verb<C, I, ()>,
    home: &'a mut SharedVec<R>,
) -> Result<Step<'a, ()>, Error>
where
    C: Context<M> + Send + 'static,
    I: Send + 'static,
    R: Pod + Send,
{
    let Verb {
        kernel,
        context,
        inputs,
        output: (),
        shape,
    } = verb;
    let pure_function = shape.pure_function;
    let verb = Verb {
        kernel,
        context,
        inputs,
        output: home.take(),
        shape,
    };
    let launch = match launch(engine, verb) {
        Ok(launch) => launch,
        Err((error, buffer)) => {
            *home = buffer;
            return Err(error);
        }
    };
    Ok(Step::Run(
        launch,
        Box::new(move |_, mut outcome| {
            let failures = core::mem::take(&mut outcome.failures);
            let (result, mut buffer) = recover::<C, I, SharedVec<R>>(outcome);
            if pure_function {
                failures
                    .iter()
                    .for_each(|failure| blank(&mut buffer, failure));
            }
            *home = buffer;
            result?;
            Ok(Step::Ready(()))
        }),
    ))
}

/// Takes the output back from a job that has ended.
fn recover<C: 'static, I: 'static, O: 'static>(outcome: JobOutcome) -> (Result<(), TaskError>, O) {
    let JobOutcome { result, keep, .. } = outcome;
    match keep.downcast::<Parts<C, I, O>>() {
        Ok(parts) => (result, parts.output),
        // The hub returns what `launch` boxed; the types are those of one call of one verb.
        Err(_) => unreachable!("a job came back with another job's parts"),
    }
}

/// The bytes of a slice, after making sure that it is in this pool's memory.
pub(super) fn input_span<T: Pod>(engine: &Engine, slice: &SharedSlice<T>) -> Result<Span, Error> {
    engine.check_home(slice.region())?;
    Ok(Span {
        offset: slice.offset(),
        size: size_of_val(&**slice) as u64,
    })
}

/// The bytes of a vector, after making sure that it is in this pool's memory.
pub(super) fn output_span<T: Pod>(engine: &Engine, vec: &SharedVec<T>) -> Result<Span, Error> {
    engine.check_home(vec.region())?;
    Ok(Span {
        offset: vec.offset(),
        size: size_of_val(&**vec) as u64,
    })
}

/// Two lengths that ought to be equal.
pub(super) fn same_len(what: &'static str, found: usize, wanted: usize) -> Result<(), Error> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::InvalidArgument {
        what,
        found: format!("{found} elements long"),
        wanted: format!("{wanted}, the length of the input"),
    })
}
