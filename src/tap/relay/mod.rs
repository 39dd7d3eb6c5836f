//! HTTP/1 from a client to a model server: heads are read and passed on as they are written, bodies as they come, over
//! buffers that are used again. A connection of a client is one task, and a request takes one read and one write on
//! either side.

mod answer;
mod buffer;
mod connection;
mod direction;
mod exchange;
mod framing;
mod head;
mod pool;
mod request;
mod stream;
mod timer;

pub(super) use self::connection::{Served, serve};
pub(super) use self::pool::Pool;
pub(super) use self::stream::Stream;
