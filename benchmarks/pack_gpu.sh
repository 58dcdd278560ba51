#!/usr/bin/env bash
# Pack one folder with all that a CUDA machine without network needs for benchmarks/gpu_check.sh: llama-cpp-python's
# source without what a CUDA build does not read, wheels of pure-Python packages, and our own source. At most 60 MB.
#
#   benchmarks/pack_gpu.sh [FOLDER]        (default: .gpu in the repository, which git ignores)
#
# ARTS_GPU_PYTHON: the machine's Python version (default 3.12).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/.gpu}
python=${PYTHON:-python3}
version=${ARTS_GPU_PYTHON:-3.12}
limit_mb=60

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "${folder:?}/llama-cpp-python" "$folder/wheels" "$folder/arts-lite"
mkdir -p "$folder/llama-cpp-python" "$folder/wheels" "$folder/arts-lite"

range=$(sed -n 's/^dependencies = \["\(llama-cpp-python[^"]*\)".*/\1/p' "$root/pyproject.toml")
[ -n "$range" ] || { echo "pyproject.toml does not begin its dependencies with llama-cpp-python" >&2; exit 1; }
echo "source of $range"
"$python" -m pip download -q --no-deps --no-binary llama-cpp-python -d "$work" "$range"
archive=("$work"/llama_cpp_python-*.tar.gz)
top=$(basename "${archive[0]}" .tar.gz)
core=$top/vendor/llama.cpp
tar -xzf "${archive[0]}" -C "$work" \
  "$top/CMakeLists.txt" "$top/pyproject.toml" "$top/README.md" "$top/LICENSE.md" "$top/llama_cpp" \
  "$core/CMakeLists.txt" "$core/LICENSE" "$core/cmake" "$core/common" "$core/ggml" "$core/include" "$core/licenses" \
  "$core/src" "$core/vendor"
for backend in "$work/$core"/ggml/src/ggml-*/; do
  case $(basename "$backend") in
    ggml-cpu | ggml-cuda) ;;
    *) rm -rf "$backend" ;;
  esac
done
rm -f "$work/$core/vendor/miniaudio/miniaudio.h" # only read by the multimodal tools, which are not built
cp -a "$work/$top/." "$folder/llama-cpp-python/"

echo "wheels for Python $version"
"$python" -m pip download -q --no-deps -d "$folder/wheels" --only-binary :all: --implementation cp \
  --python-version "$version" --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
  diskcache jinja2 MarkupSafe typing-extensions click rich markdown-it-py mdurl pygments \
  gguf pyyaml tqdm requests pytest iniconfig pluggy packaging pytest-timeout hypothesis sortedcontainers

echo "our source"
git -C "$root" ls-files -z --cached --others --exclude-standard |
  (cd "$root" && while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done) |
  tar -C "$root" --null -T - -cf - | tar -C "$folder/arts-lite" -xf -

size_mb=$(du -sm "$folder" | cut -f1)
echo "$folder: $size_mb MB; run there: bash arts-lite/benchmarks/gpu_check.sh"
if [ "$size_mb" -gt "$limit_mb" ]; then
  echo "$size_mb MB are more than the $limit_mb MB that are allowed; prune more in benchmarks/pack_gpu.sh" >&2
  exit 1
fi
