#!/usr/bin/env python3
"""Installs libtorch 2.13.0 for tch 0.26 and prints its folder, the value for LIBTORCH, as the last line of stdout.

    python3 trainer/setup/libtorch.py           the CPU parts of the PyPI wheel: 540 MB down, 490 MB on disk
    python3 trainer/setup/libtorch.py --cuda    the full wheel and its nvidia packages, for a host with a GPU
    python3 trainer/setup/libtorch.py --check   only say where libtorch is; fail if there is none

A LIBTORCH that is already set is checked and kept. Anything installed before is found again without the network.
Linux on x86-64 only; elsewhere unpack libtorch 2.13.0 yourself and set LIBTORCH.
"""

import argparse
import os
import pathlib
import platform
import re
import shutil
import sys
import time

sys.dont_write_bytecode = True

import wheels  # noqa: E402
from wheels import SetupError, Wheel, say  # noqa: E402

VERSION = "2.13.0"

TORCH = Wheel(
    "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    "60fcdcb2f3876e21146cb4524ef06397d727ca9ad5f020818547e25075fe3cb7",
    526_574_961,
)
# libtorch_cpu.so of this wheel is linked against both, GPU or not.
CUDA_RUNTIME = Wheel(
    "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    2_243_632,
)
CUPTI = Wheel(
    "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
    "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
    10_715_597,
)
LIBRARIES = ["libtorch_cpu.so", "libtorch.so", "libc10.so", "libgomp.so.1"]

# What libtorch_cuda.so is linked against besides, at the versions that torch 2.13.0 asks for.
GPU = [
    CUDA_RUNTIME,
    CUPTI,
    Wheel(
        "nvidia_cublas-13.1.1.3-py3-none-manylinux_2_27_x86_64.whl",
        "37936a16db8fe4ac1f065c2139360608a543a09275cb1a1af612e08cfa065436",
        423_138_758,
    ),
    Wheel(
        "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        90_215_200,
    ),
    Wheel(
        "nvidia_cudnn_cu13-9.20.0.48-py3-none-manylinux_2_27_x86_64.whl",
        "0c45dd8eeb50b603f07995b1b300c62ffe6a1980482b82b3bcf94a4ca9d49304",
        366_173_588,
    ),
    Wheel(
        "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        214_085_489,
    ),
    Wheel(
        "nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        1_223_672,
    ),
    Wheel(
        "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        59_544_258,
    ),
    Wheel(
        "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
        "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        200_941_980,
    ),
    Wheel(
        "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        145_942_937,
    ),
    Wheel(
        "nvidia_cusparselt_cu13-0.8.1-py3-none-manylinux2014_x86_64.whl",
        "786ce87568c303fadb5afcc7102d454cd3040d75f6f8626f5db460d1871f4dd0",
        170_148_586,
    ),
    Wheel(
        "nvidia_nccl_cu13-2.29.7-py3-none-manylinux_2_18_x86_64.whl",
        "edd81538446786ec3b73972543e53bb43bcaf0bfc8ef76cb679fcc390ffe136d",
        205_976_000,
    ),
    Wheel(
        "nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
        40_713_933,
    ),
    Wheel(
        "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        60_412_546,
    ),
    Wheel(
        "nvidia_nvtx-13.0.85-py3-none-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
        "4936d1d6780fbe68db454f5e72a42ff64d1fd6397df9f363ae786930fd5c1cd4",
        148_047,
    ),
]


def torch_part(name):
    """Where a member of the torch wheel belongs in the CPU installation; None leaves it out."""
    if name.startswith("torch/include/"):
        return name.removeprefix("torch/")
    if name in {f"torch/lib/{library}" for library in LIBRARIES}:
        return name.removeprefix("torch/")
    # The licences of what is taken.
    if ".dist-info/" in name and os.path.basename(name) in {"LICENSE", "NOTICE"}:
        return f"licenses/{os.path.basename(name)}"
    return None


def library_part(library):
    """The same for a wheel of which one library is wanted."""

    def place(name):
        if os.path.basename(name) == library:
            return f"lib/{library}"
        if ".dist-info/" in name and "license" in os.path.basename(name).lower():
            return f"licenses/{library}.txt"
        return None

    return place


def install_cpu(cache, target):
    """Puts the CPU parts of the wheels into `target`, which appears only when it is complete."""
    parts = [
        (TORCH, torch_part, len(LIBRARIES) + 1),
        (CUDA_RUNTIME, library_part("libcudart.so.13"), 1),
        (CUPTI, library_part("libcupti.so.13"), 1),
    ]
    work = cache / "partial" / target.name
    fetched = []
    for wheel, place, at_least in parts:
        archive = wheels.fetch(wheel, cache)
        fetched.append(archive)
        say(f"  unpacking what is needed of {wheel.filename}")
        if wheels.unpack(archive, work, place) < at_least:
            raise SetupError(f"{wheel.filename} does not hold what was expected of it")
    (work / "lib" / "libgomp.so").symlink_to("libgomp.so.1")
    finish(work, work, target)
    for archive in fetched:
        archive.unlink()


def install_cuda(cache, target):
    """Puts the libraries of all wheels into `target`, as pip lays them out: their rpaths fit that.

    Made without a GPU at hand: it unpacks and links, but no kernel has run on it yet.
    """
    work = cache / "partial" / target.name
    archives = [wheels.fetch(wheel, cache) for wheel in [TORCH, *GPU]]
    for archive in archives:
        say(f"  unpacking {archive.name}")
        keep = ("torch/include/", "torch/lib/", "nvidia/")
        wheels.unpack(archive, work, lambda name: name if name.startswith(keep) else None)
    (work / "torch" / "lib" / "libgomp.so").symlink_to("libgomp.so.1")
    finish(work, work / "torch", target)
    for archive in archives:
        archive.unlink()


def finish(work, libtorch, target):
    """Notes the version where tch's build script looks for it, then puts the finished tree in its place."""
    (libtorch / "build-version").write_text(VERSION + "\n", encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    os.replace(work, target)


def version_of(libtorch):
    """The version of the libtorch in a folder, as far as it says."""
    sources = [
        ("build-version", r"^\s*(\S+)"),
        ("version.py", r"__version__ = '([^']+)'"),
        ("include/torch/csrc/api/include/torch/version.h", r'#define TORCH_VERSION "([^"]+)"'),
        ("include/torch/headeronly/version.h", r'#define TORCH_VERSION "([^"]+)"'),
    ]
    for name, pattern in sources:
        try:
            found = re.search(pattern, (libtorch / name).read_text(encoding="utf-8"), re.MULTILINE)
        except OSError:
            continue
        if found:
            return found.group(1)
    return None


def check_given(libtorch):
    """A LIBTORCH set by the user: its path, once it is sure that tch can use it."""
    path = pathlib.Path(libtorch)
    for needed in ["lib/libtorch.so", "include/torch"]:
        if not (path / needed).exists():
            raise SetupError(
                f"LIBTORCH is {libtorch}, but there is no {needed} in it\n"
                f"  hint: point it at the folder that holds lib/ and include/ of libtorch {VERSION}, or unset it"
            )
    version = version_of(path)
    if version is None:
        say(f"libtorch: using LIBTORCH={libtorch} (it does not say its version; tch 0.26 needs {VERSION})")
    elif version.split("+")[0] != VERSION and "LIBTORCH_BYPASS_VERSION_CHECK" not in os.environ:
        raise SetupError(
            f"LIBTORCH is {libtorch}, which holds version {version}; tch 0.26 needs {VERSION}\n"
            "  hint: unset LIBTORCH to have the right one installed, or set LIBTORCH_BYPASS_VERSION_CHECK=1"
        )
    else:
        say(f"libtorch: using LIBTORCH={libtorch} (version {version})")
    return str(path.absolute())


def run():
    """Finds or installs libtorch; returns its folder."""
    parser = argparse.ArgumentParser(description="install libtorch for the trainer and print its folder")
    parser.add_argument("--cuda", action="store_true", help="the full wheel and its nvidia packages")
    parser.add_argument("--check", action="store_true", help="do not install; fail if it is not there")
    arguments = parser.parse_args()
    if given := os.environ.get("LIBTORCH"):
        return check_given(given)
    cache = wheels.cache_dir()
    kind = "cuda" if arguments.cuda else "cpu"
    target = cache / f"libtorch-{VERSION}-{kind}"
    libtorch = target / "torch" if arguments.cuda else target
    if (libtorch / "build-version").is_file():
        say(f"libtorch: {VERSION} ({kind}) is already in {libtorch}")
        return str(libtorch)
    if arguments.check:
        raise SetupError(f"no libtorch in {target}\n  hint: run `make setup`, or set LIBTORCH")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            f"no libtorch is pinned for {sys.platform} on {platform.machine()}\n"
            f"  hint: unpack libtorch {VERSION} somewhere and set LIBTORCH to its folder"
        )
    started = time.monotonic()
    with wheels.locked(cache):
        if not (libtorch / "build-version").is_file():
            say(f"libtorch: installing {VERSION} ({kind}) from PyPI into {target}")
            free, needed = shutil.disk_usage(cache).free, 7_500_000_000 if arguments.cuda else 1_200_000_000
            if free < needed:
                raise SetupError(
                    f"{cache} has {wheels.megabytes(free)} free; {wheels.megabytes(needed)} are needed meanwhile\n"
                    "  hint: set DRIFTLINE_CACHE to a folder on a larger disk"
                )
            install_cuda(cache, target) if arguments.cuda else install_cpu(cache, target)
    size = wheels.megabytes(wheels.folder_size(target))
    say(f"libtorch: {VERSION} ({kind}) is in {libtorch}, {size}, after {time.monotonic() - started:.0f} s")
    return str(libtorch)


if __name__ == "__main__":
    wheels.main(run)
