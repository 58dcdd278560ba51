#!/usr/bin/env bash
# The whole check on a CUDA machine without network, from the folder that benchmarks/pack_gpu.sh packed: builds
# llama-cpp-python for this card alone and ARTS-lite, writes a random model of Qwen2.5-1.5B's shape, runs the engine's
# tests with all layers on the GPU and the benchmarks, and leaves one JSON (gpu_check.json).
#
#   gpu_check.sh [build|run|all]           (default: all)
#
# Wants python3 (3.12) with venv, numpy, pybind11, scikit-build-core; cmake, ninja, nvcc. Every stage goes on where the
# last call stopped: if the time of one call is over, it exits with 75 and wants to be called again.
#
# ARTS_GPU_PACK      the packed folder (default: found beside this repository)
# ARTS_GPU_WORK      for builds and results (default: build/gpu in the repository)
# ARTS_GPU_SECONDS   time of one call (default: 570)
# OUT                where gpu_check.json goes (default: ARTS_GPU_WORK)
# ARTS_GPU_CHECK_CPU=1, ARTS_GPU_LLAMA_WHEEL=FILE: try this script without a GPU, and with a wheel that is built already
set -euo pipefail
stage=${1:-all}
case $stage in build | run | all) ;; *) echo "usage: gpu_check.sh [build|run|all], not '$stage'" >&2; exit 2 ;; esac
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pack=${ARTS_GPU_PACK:-}
for folder in "$root/.gpu" "$root/.."; do
  [ -z "$pack" ] && [ -d "$folder/llama-cpp-python" ] && pack=$(cd "$folder" && pwd)
done
[ -n "$pack" ] || { echo "no packed folder found; run benchmarks/pack_gpu.sh, or set ARTS_GPU_PACK" >&2; exit 2; }
work=${ARTS_GPU_WORK:-$root/build/gpu}
results=$work/results
mkdir -p "$work" "$results"
end=$((SECONDS + ${ARTS_GPU_SECONDS:-570}))
on_cpu=${ARTS_GPU_CHECK_CPU:-}
gpu_layers=-1
[ -z "$on_cpu" ] || gpu_layers=0
python=$work/venv/bin/python
export GIT_DIR=/nonexistent # llama.cpp's build would take our commit for its own

seconds_left() { echo $((end - SECONDS > 1 ? end - SECONDS : 1)); }

# step NAME COMMAND...: once, within the time that is left; 75 when that is over
step() {
  local name=$1 status=0
  shift
  [ -e "$work/$name.done" ] && return 0
  echo "== $name ($(seconds_left) s left)"
  timeout --kill-after=5 "$(seconds_left)" "$@" >"$work/$name.log" 2>&1 || status=$?
  tail -n 4 "$work/$name.log"
  if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
    echo "the time of this call is over in step $name; call gpu_check.sh again to go on"
    exit 75
  fi
  [ "$status" -eq 0 ] || { tail -n 60 "$work/$name.log"; echo "step $name failed ($status)"; exit 1; }
  touch "$work/$name.done"
}

# measure NAME SECONDS COMMAND...: a result that may fail without stopping the others
measure() {
  local name=$1 seconds=$2 status=0
  shift 2
  [ -e "$results/$name.status" ] && return 0
  if [ "$(seconds_left)" -lt "$seconds" ]; then
    echo "$(seconds_left) s are left, $name may take $seconds; call gpu_check.sh run again to go on"
    exit 75
  fi
  echo "== $name ($(seconds_left) s left)"
  timeout --kill-after=5 "$seconds" "$@" >"$results/$name.log" 2>&1 || status=$?
  tail -n 12 "$results/$name.log"
  echo "$status" >"$results/$name.status"
}

# A virtual environment that sees the packages of the python3 that is at hand, which may be in one itself.
make_venv() {
  python3 -m venv "$work/venv"
  local folder
  folder=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  python3 -c 'import site, sysconfig
paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
print(*dict.fromkeys(paths), sep="\n")' >"$folder/outer.pth"
}

build() {
  [ -e "$work/venv.done" ] || { make_venv && touch "$work/venv.done"; }
  step packages "$python" -m pip install -q --no-index --no-deps "$pack"/wheels/*.whl
  if [ -n "${ARTS_GPU_LLAMA_WHEEL:-}" ]; then
    step llama-install "$python" -m pip install -q --no-index --no-deps "$ARTS_GPU_LLAMA_WHEEL"
  else
    local cmake_args="-DLLAVA_BUILD=OFF -DGGML_NATIVE=ON"
    if [ -z "$on_cpu" ]; then
      local capability
      capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
      cmake_args+=" -DGGML_CUDA=ON -DGGML_CUDA_FA_ALL_QUANTS=OFF -DCMAKE_CUDA_ARCHITECTURES=${capability}-real"
    fi
    # The build folder stays, so that ninja goes on where a call was cut off.
    export CMAKE_ARGS=$cmake_args
    step llama-build "$python" -m pip wheel -v --no-index --no-deps --no-build-isolation \
      -C build-dir="$work/llama-build" -w "$work/wheels" "$pack/llama-cpp-python"
    step llama-install "$python" -m pip install -q --no-index --no-deps "$work"/wheels/llama_cpp_python-*.whl
    unset CMAKE_ARGS
  fi
  local headers
  headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/include
  step arts-build "$python" -m pip install --no-index --no-deps --no-build-isolation \
    -C cmake.define.ARTS_LLAMA_INCLUDE_DIR="$headers" "$root"
  step model "$python" "$root/benchmarks/random_gguf.py" "$work/random-1.5b.gguf"
}

bench() {
  local name=$1 seconds=$2
  shift 2
  measure "$name" "$seconds" "$python" "$root/benchmarks/$name.py" --model "$work/random-1.5b.gguf" \
    --gpu-layers "$gpu_layers" --json "$results/$name.json" "$@"
}

run() {
  [ -e "$work/model.done" ] || { echo "nothing is built yet; call gpu_check.sh build first" >&2; exit 1; }
  export ARTS_TEST_GPU_LAYERS=$gpu_layers
  # Scripts, not `python -m`: that would find the source tree, which holds no extension, before the installed package.
  measure info 60 "$work/venv/bin/arts-lite" info --json --gpu-layers "$gpu_layers" "$work/random-1.5b.gguf"
  cd "$root" # pytest's settings are there
  measure tests 300 "$work/venv/bin/pytest" -q -p no:cacheprovider --durations=5 tests/engine
  local quick=()
  [ -z "$on_cpu" ] || quick=(--quick)
  bench decode 150 "${quick[@]}"
  bench fork 120 "${quick[@]}"
  bench layout 150 "${quick[@]}"
  bench solve 180 "${quick[@]}"
  "$python" "$root/benchmarks/gpu_report.py" "$results" "${OUT:-$work}/gpu_check.json"
}

[ "$stage" = run ] || build
[ "$stage" = build ] || run
