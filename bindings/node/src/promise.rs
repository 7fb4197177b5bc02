//! Work of a member, as a promise.

use keelkv_kit::Work;
use napi::bindgen_prelude::{Object, ToNapiValue};
use napi::{Env, Result};

use crate::failure::failure;

type Settle<J> = Box<dyn FnOnce(Env) -> Result<J> + Send>;

/// A promise of what `work` brings, turned into JavaScript's by `turn`. Until it is settled the process does not end by
/// itself.
pub(crate) fn promise<T, J>(env: &Env, work: Work<T>, turn: fn(Env, T) -> Result<J>) -> Result<Object<'_>>
where
    T: Send + 'static,
    J: ToNapiValue + 'static,
{
    let (deferred, promise) = env.create_deferred::<J, Settle<J>>()?;
    work.then(move |result| {
        deferred.resolve(Box::new(move |env| match result {
            Ok(value) => turn(env, value),
            Err(error) => Err(failure(env, &error)),
        }));
    });
    Ok(promise)
}
