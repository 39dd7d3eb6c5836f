//! Expressions are parsed and evaluated on a stack whose size is known.

use std::thread;

/// What the limits of expressions need in a debug build, several times over.
const STACK: usize = 8 << 20;

/// Runs `work` on a thread of its own with 8 MiB of stack, and waits for it.
///
/// CEL recurses as deeply as an expression is nested. The limits on expressions fit the stack of an ordinary thread too,
/// so that is where the work is done when the system has no thread left.
pub(super) fn run<T: Send>(work: impl Fn() -> T + Send + Sync) -> T {
    thread::scope(|scope| {
        let started = thread::Builder::new()
            .name("driftline-rules".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, &work);
        match started.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => work(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses about `kilobytes` of stack.
    fn descend(kilobytes: u32) -> u32 {
        let held = std::hint::black_box([0_u8; 1024]);
        if kilobytes == 0 { u32::from(held[0]) } else { 1 + descend(kilobytes - 1) }
    }

    #[test]
    fn a_small_stack_of_the_caller_does_not_matter() {
        let caller = thread::Builder::new().stack_size(256 << 10).spawn(|| run(|| descend(2000)));
        assert_eq!(caller.unwrap().join().unwrap(), 2000);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let caught = std::panic::catch_unwind(|| run(|| -> u32 { panic!("on purpose") }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"on purpose"));
    }
}
