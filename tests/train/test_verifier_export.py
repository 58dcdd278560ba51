"""From a run to a GGUF: what the file says, and that the engine reads the values that torch gave."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.verifier_training import training, write_base, write_sums
from numpy.typing import NDArray
from tiny_gguf import TinyModel, write_tiny_gguf

from arts_lite.engine import EngineConfig, KVType
from arts_lite.engine.gguf import read_header
from arts_lite.errors import TrainingError
from arts_lite.tasks import Rewards
from arts_lite.train.base import TuningConfig
from arts_lite.train.transformer import Shape
from arts_lite.train.trees import TrainingTree
from arts_lite.train.verifier import VerifierTraining
from arts_lite.train.verifier_export import export_verifier, format_of, template_of
from arts_lite.verifier import read_verifier
from arts_lite.verifier.verifier import Verifier

SHAPE = Shape(dim=64, num_layers=2, num_heads=2, num_kv_heads=1, ff_dim=64, max_positions=64)
LEARNING = {"epochs": 3.0, "learning_rate": 5e-3, "head_learning_rate": 5e-2}
_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "bos_token_id"),
)
PRECISIONS = {"F32": (KVType.F32, 1e-4), "F16": (KVType.F16, 1e-2)}


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sums(tmp_path_factory.mktemp("trees") / "trees.jsonl")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.gguf", SHAPE)


def finished(folder: Path, base: Path, trees: Path, **changes: Any) -> VerifierTraining:
    one = training(folder, base, trees, **{**LEARNING, **changes})
    assert one.train()
    one.load_best()
    return one


def engine_config(kv_type: KVType) -> EngineConfig:
    return EngineConfig(
        threads=1, ctx_size=64, num_cells=1024, kv_type=kv_type, tunes_rows=False, flash_attention=False
    )


def engine_values(verifier: Verifier, tree: TrainingTree) -> NDArray[np.float64]:
    """Log-flows of all nodes below the root, each read in its own trace."""
    traces = [[tree.texts[node] for node in tree.path(node)[1:]] for node in range(1, tree.num_nodes)]
    return np.array([found[-1] for found in verifier.log_flows(tree.question, traces, tree.delimiters)])


def assert_engine_reads_torchs_values(one: VerifierTraining, path: Path, kv_type: KVType, tolerance: float) -> None:
    expected = one.dev_values()
    assert np.concatenate(expected).std() > 0.05
    with Verifier.from_gguf(path, engine_config(kv_type)) as verifier:
        for tree, values in zip(one.data.dev, expected, strict=True):
            flows = one.objective.log_flow(values, one.data.rewards)
            np.testing.assert_allclose(engine_values(verifier, tree), flows[1:], atol=tolerance, rtol=0)


class TestTiny:
    @pytest.mark.parametrize("file_type", PRECISIONS)
    @pytest.mark.parametrize("objective", ["flow", "rm"])
    def test_the_engine_reads_torchs_values(
        self, objective: str, file_type: str, base: Path, trees: Path, tmp_path: Path
    ) -> None:
        one = finished(tmp_path / "run", base, trees, objective=objective)
        export_verifier(one, tmp_path / "v.gguf", file_type=file_type)
        assert_engine_reads_torchs_values(one, tmp_path / "v.gguf", *PRECISIONS[file_type])

    @pytest.mark.parametrize(
        ("objective", "options", "output", "estimator"),
        [
            ("flow", {}, "logit", "expected"),
            ("flow", {"deviance": "gamma", "estimator": "sum"}, "log_flow", "sum"),
            ("prm", {"labels": "hard"}, "logit", "hard"),
            ("subtb", {}, "log_flow", "expected"),
            ("orm", {}, "logit", ""),
            ("rm", {}, "score", ""),
        ],
    )
    def test_the_file_says_what_it_is(
        self,
        objective: str,
        options: dict[str, Any],
        output: str,
        estimator: str,
        base: Path,
        trees: Path,
        tmp_path: Path,
    ) -> None:
        one = finished(tmp_path / "run", base, trees, objective=objective, options=options, epochs=1.0)
        written = export_verifier(one, tmp_path / "v.gguf")
        header = read_header(tmp_path / "v.gguf")
        found = read_verifier(header)
        assert found.keys() == written.keys()
        assert (found.objective, found.output, found.estimator) == (objective, output, estimator)
        assert found.rules == one.base.rules
        assert (found.reward_correct, found.reward_wrong) == (Rewards().correct, Rewards().wrong)
        assert found.base_name == base.name  # a file's name, no path of whoever trained it
        assert header.text("general.name") == "ARTS-lite tiny verifier"
        np.testing.assert_array_equal(found.head.weight, one.model.head.weight.detach().numpy()[0])
        values = np.concatenate(one.dev_values())
        np.testing.assert_allclose(found.log_flow(values), one.objective.log_flow(values, one.data.rewards))

    def test_it_tells_of_its_training(self, base: Path, trees: Path, tmp_path: Path) -> None:
        one = finished(tmp_path / "run", base, trees)
        told = format_of(one).metrics
        assert told["steps"] == one.num_steps
        assert told["options"]["estimator"] == "expected"
        assert told["trees"]["num_train"] == len(one.data.train)
        assert told["dev"]["bon_accuracy"] == pytest.approx(one.best)
        assert all(math.isfinite(value) for value in told["dev"].values())

    def test_a_template_is_refused(self, base: Path, trees: Path, tmp_path: Path) -> None:
        one = training(tmp_path, base, trees)
        with pytest.raises(TrainingError, match="takes no template"):
            template_of(one, base)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("transformers", "peft"):
        pytest.importorskip(package)
    model = TinyModel(architecture="llama", num_heads=4, num_kv_heads=2, float_type="f32", ctx_train=128)
    return write_tiny_gguf(tmp_path_factory.mktemp("foreign") / "foreign.gguf", model)


class TestOtherModels:
    """A foreign model, loaded by transformers from its GGUF, which is the template too."""

    @pytest.mark.parametrize("tuning", ["full", "lora", "head"])
    def test_the_engine_reads_torchs_values(self, tuning: str, foreign: Path, trees: Path, tmp_path: Path) -> None:
        config = TuningConfig(tuning, lora_rank=4, checkpointing=tuning == "lora")
        one = finished(tmp_path / "run", foreign, trees, tuning=config, epochs=1.0, batch_tokens=400)
        assert one.base.rules.bos == 1
        learns = {name.split(".")[0] for name in one.model.learning()}
        assert learns == ({"head"} if tuning == "head" else {"head", "body"})
        if tuning == "lora":
            assert all("lora_" in name for name in one.model.learning() if name.startswith("body."))
        expected = one.dev_values()
        assert np.concatenate(expected).std() > 0.01
        export_verifier(one, tmp_path / "v.gguf", file_type="F32")
        with Verifier.from_gguf(tmp_path / "v.gguf", engine_config(KVType.F32)) as verifier:
            assert verifier.format.rules == one.base.rules
            for tree, values in zip(one.data.dev, expected, strict=True):
                flows = one.objective.log_flow(values, one.data.rewards)
                np.testing.assert_allclose(engine_values(verifier, tree), flows[1:], atol=1e-3, rtol=0)

    def test_lora_stops_and_resumes_exactly(self, foreign: Path, trees: Path, tmp_path: Path) -> None:
        changes = {"tuning": TuningConfig("lora", lora_rank=2), "epochs": 0.6}
        whole = training(tmp_path / "whole", foreign, trees, **changes)
        assert whole.train()
        one = training(tmp_path / "parts", foreign, trees, **changes)
        one.tell = lambda done, _text: one.stop() if done == 2 else None
        assert not one.train()
        again = training(tmp_path / "parts", foreign, trees, **changes)
        assert again.step == 2 < again.num_steps
        assert again.train()
        other = whole.model.learning()
        assert all(bool((weight == other[name]).all()) for name, weight in again.model.learning().items())

    def test_without_a_gguf_a_template_is_asked_for(self, foreign: Path, trees: Path, tmp_path: Path) -> None:
        folder = saved(foreign, tmp_path / "hf")
        one = training(tmp_path / "run", folder, trees, tuning=TuningConfig("head"))
        with pytest.raises(TrainingError, match="is no GGUF: name the same model's GGUF as template"):
            template_of(one)
        with pytest.raises(TrainingError, match=r"makes other tokens of .*; train with the GGUF itself as base"):
            template_of(one, foreign)  # transformers puts a space in front of this one's texts
        with pytest.raises(TrainingError, match=r"is of another model than base .* have 64 numbers, not 128"):
            template_of(one, write_base(tmp_path / "other.gguf", SHAPE))
        with pytest.raises(TrainingError, match="cannot be read"):
            template_of(one, tmp_path / "none.gguf")

    def test_a_folder_is_trained_and_written_with_a_template(self, trees: Path, tmp_path: Path) -> None:
        foreign = write_tiny_gguf(tmp_path / "bytes.gguf", TinyModel(num_heads=4, num_kv_heads=2, float_type="f32"))
        folder = saved(foreign, tmp_path / "hf")
        config = TuningConfig(
            "lora", lora_rank=2
        )  # this template has no place for biases that full tuning would change
        one = finished(tmp_path / "run", folder, trees, epochs=0.5, tuning=config)
        assert not one.base.is_tiny
        expected = one.dev_values()
        export_verifier(one, tmp_path / "v.gguf", template=foreign, file_type="F32")
        with Verifier.from_gguf(tmp_path / "v.gguf", engine_config(KVType.F32)) as verifier:
            flows = one.objective.log_flow(expected[0], one.data.rewards)
            np.testing.assert_allclose(engine_values(verifier, one.data.dev[0]), flows[1:], atol=1e-3, rtol=0)


def saved(gguf: Path, folder: Path) -> Path:
    """The same model as a Hugging Face folder."""
    transformers = pytest.importorskip("transformers")
    transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = type(model.config)(**{name: getattr(model.config, name) for name in _SIZES})
    plain = type(model)(config)  # one that was read from a GGUF cannot be saved
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    return folder
