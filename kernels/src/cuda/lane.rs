//! A lane: one stream of the device with the memory that its work uses. Two lanes overlap copies of one chunk with
//! the computing of another.

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;

use cudarc::driver::{result, sys};

use crate::cuda::device::Device;
use crate::cuda::module::Kernel;
use crate::error::KernelError;

/// Parts of a lane's memory begin at multiples of this, so that all loads of a warp are aligned.
pub(crate) const ALIGNMENT: usize = 256;

/// Values that may be copied to and from a device byte by byte.
///
/// # Safety
/// The type has no padding and no pointers of the host, and every pattern of bits is a value.
pub(crate) unsafe trait Plain: Copy + Default {}

// SAFETY: numbers.
unsafe impl Plain for u16 {}
// SAFETY: numbers.
unsafe impl Plain for u32 {}
// SAFETY: numbers.
unsafe impl Plain for u64 {}
// SAFETY: numbers.
unsafe impl Plain for f32 {}
// SAFETY: numbers.
unsafe impl Plain for f64 {}

/// What a kernel can be given: the value itself, or the address of a slice.
pub(crate) trait Argument {
    /// Where the bytes of the parameter are.
    fn address(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// How many they are.
    fn bytes(&self) -> usize {
        size_of_val(self)
    }
}

impl Argument for u32 {}
impl Argument for u64 {}
impl Argument for f64 {}

/// A part of a lane's memory. Valid until the lane is cleared.
#[derive(Debug)]
pub(crate) struct Slice<T> {
    address: sys::CUdeviceptr,
    len: usize,
    elements: PhantomData<T>,
}

impl<T> Clone for Slice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slice<T> {}

impl<T> Slice<T> {
    /// The first elements.
    pub(crate) fn first(self, len: usize) -> Self {
        Self { len: len.min(self.len), ..self }
    }

    /// The elements from one on; `from` must not be beyond the end.
    pub(crate) fn from(self, from: usize) -> Self {
        let from = from.min(self.len);
        Self { address: self.address + (from * size_of::<T>()) as u64, len: self.len - from, ..self }
    }
}

impl<T> Argument for Slice<T> {
    fn address(&self) -> *mut c_void {
        (&raw const self.address).cast_mut().cast()
    }

    fn bytes(&self) -> usize {
        size_of::<sys::CUdeviceptr>()
    }
}

/// A stream and its memory.
pub(crate) struct Lane {
    stream: sys::CUstream,
    context: sys::CUcontext,
    base: sys::CUdeviceptr,
    bytes: usize,
    used: usize,
    /// The kernel that was launched last, for messages.
    last: Cell<&'static str>,
}

impl Lane {
    /// A lane without memory. The device must be current.
    pub(crate) fn new(device: &Device) -> Result<Self, KernelError> {
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        let stream = device.checked(stream, || "creating a stream".to_owned())?;
        Ok(Self {
            stream,
            context: device.context(),
            base: 0,
            bytes: 0,
            used: 0,
            last: Cell::new("none yet"),
        })
    }

    /// Bytes of memory that the lane holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes sure of so much memory, of which nothing is taken. Waits for the lane's work.
    pub(crate) fn reserve(&mut self, device: &Device, bytes: usize) -> Result<(), KernelError> {
        self.used = 0;
        if bytes <= self.bytes {
            return Ok(());
        }
        self.wait(device)?;
        self.release();
        // SAFETY: a plain allocation; it is freed once, in `release`.
        let base = unsafe { result::malloc_sync(bytes) };
        let base =
            device.checked(base, || format!("allocating {bytes} bytes")).map_err(|error| match error {
                KernelError::OutOfMemory { free, .. } => {
                    KernelError::OutOfMemory { need: bytes as u64, free }
                }
                other => other,
            })?;
        (self.base, self.bytes) = (base, bytes);
        Ok(())
    }

    /// Takes the next part of the memory.
    ///
    /// # Errors
    /// [`KernelError::OutOfMemory`] when less was reserved.
    pub(crate) fn take<T: Plain>(&mut self, len: usize) -> Result<Slice<T>, KernelError> {
        let start = self.used.next_multiple_of(ALIGNMENT);
        let end = len.checked_mul(size_of::<T>()).and_then(|bytes| start.checked_add(bytes));
        match end {
            Some(end) if end <= self.bytes => {
                self.used = end;
                Ok(Slice { address: self.base + start as u64, len, elements: PhantomData })
            }
            _ => Err(KernelError::OutOfMemory {
                need: end.unwrap_or(usize::MAX) as u64,
                free: self.bytes as u64,
            }),
        }
    }

    /// Copies values to the beginning of a slice, which must have room for them.
    pub(crate) fn upload<T: Plain>(
        &self,
        device: &Device,
        to: Slice<T>,
        values: &[T],
    ) -> Result<(), KernelError> {
        assert!(values.len() <= to.len, "a copy of {} elements to {}", values.len(), to.len);
        if values.is_empty() {
            return Ok(());
        }
        // SAFETY: the slice is a part of this lane's memory with room for the values. They are in pageable memory,
        // which the driver has read when the call returns.
        let copied = unsafe { result::memcpy_htod_async(to.address, values, self.stream) };
        device.checked(copied, || format!("copying to it, after kernel {}", self.last.get()))
    }

    /// Waits for the lane's work and copies a slice to the host.
    pub(crate) fn download<T: Plain>(&self, device: &Device, from: Slice<T>) -> Result<Vec<T>, KernelError> {
        let mut values = vec![T::default(); from.len];
        if !values.is_empty() {
            // SAFETY: the slice is a part of this lane's memory; `values` lives until the stream is synchronised.
            let copied = unsafe { result::memcpy_dtoh_async(&mut values, from.address, self.stream) };
            let waited = self.wait(device);
            device.checked(copied, || format!("copying from it, after kernel {}", self.last.get()))?;
            waited?;
        }
        Ok(values)
    }

    /// Waits until all work of the lane is done.
    pub(crate) fn wait(&self, device: &Device) -> Result<(), KernelError> {
        // SAFETY: the stream is destroyed only when this value is dropped.
        let waited = unsafe { result::stream::synchronize(self.stream) };
        device.checked(waited, || format!("waiting for kernel {}", self.last.get()))
    }

    /// Starts a kernel; without blocks, nothing happens.
    pub(crate) fn launch(
        &self,
        device: &Device,
        kernel: &Kernel,
        blocks: usize,
        threads: u32,
        arguments: &[&dyn Argument],
    ) -> Result<(), KernelError> {
        if blocks == 0 {
            return Ok(());
        }
        // Mistakes of this crate, which every test of the kernel meets.
        let given = arguments.iter().map(|argument| argument.bytes());
        assert!(given.eq(kernel.parameters.iter().copied()), "the arguments of {} are wrong", kernel.name);
        assert!(blocks <= i32::MAX as usize, "{blocks} blocks of {}", kernel.name);
        self.last.set(kernel.name);
        let mut addresses: Vec<*mut c_void> = arguments.iter().map(|argument| argument.address()).collect();
        // SAFETY: number and sizes of the arguments are those of the kernel, as its PTX says; the driver reads them
        // during the call. Slices among them are parts of this lane's memory, which stays until the stream is done.
        let launched = unsafe {
            let grid = (blocks as u32, 1, 1);
            result::launch_kernel(kernel.function, grid, (threads, 1, 1), 0, self.stream, &mut addresses)
        };
        device.checked(launched, || format!("starting kernel {}", kernel.name))
    }

    /// Frees the memory. All work must be done.
    fn release(&mut self) {
        if self.bytes > 0 {
            // SAFETY: this memory was allocated here and nothing uses it any more. What the driver says about it
            // changes nothing: after a failure the memory goes with the process.
            let _ = unsafe { result::memory_free(self.base) };
            (self.base, self.bytes, self.used) = (0, 0, 0);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // SAFETY: the context is kept until the process ends, the stream until the next statement but one. Errors
        // here come after one that was reported.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            let _ = result::stream::synchronize(self.stream);
            self.release();
            let _ = result::stream::destroy(self.stream);
        }
    }
}
