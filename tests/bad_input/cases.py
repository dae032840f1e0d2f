"""The table: program, input, what must come out. Every case ends with status 2 and one line that says `says`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
from collections.abc import Callable, Iterator, Sequence

from common import cli
from tests.bad_input import makers

PROGRAMS = (
    "common.get_data",
    "common.launch",
    "common.pack",
    "examples.embedding_learning.compare",
    "examples.embedding_learning.demo",
    "examples.embedding_learning.embed",
    "examples.embedding_learning.export",
    "examples.embedding_learning.search",
    "examples.embedding_learning.train",
    "examples.im2vec.compare",
    "examples.im2vec.export",
    "examples.im2vec.train",
    "examples.im2vec.visualize",
    "examples.transfer.export",
    "examples.transfer.generate_embedding",
    "examples.transfer.predict",
    "examples.transfer.train",
    "examples.visual_semantic.analyze",
    "examples.visual_semantic.evaluate",
    "examples.visual_semantic.export",
    "examples.visual_semantic.lay_out_emoji",
    "examples.visual_semantic.search",
    "examples.visual_semantic.split_awa2",
    "examples.visual_semantic.train",
    "examples.visual_semantic.tune",
    "examples.visual_semantic.xian",
    "examples.vse.evaluate",
    "examples.vse.export",
    "examples.vse.search",
    "examples.vse.train",
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One wrong input.

    Attributes
    ----------
    program : str
        The module with `main` and `parse_args`; ``module:function`` for a reader, called with the file.
    title : str
        What is wrong.
    argv : tuple of str
        ``{in}`` is the folder of the broken file, ``{good}`` that of whole ones, ``{out}`` an empty folder to write to.
    says : str
        What the line must hold: the name of the file or the flag.
    file : str
        The name of the broken file in ``{in}``; empty where the flags alone are wrong.
    whole : str
        The whole file, in ``{good}``.
    way : function of bytes, "folder" or None
        See `makers.break_file`.
    beside : tuple of str
        Files and folders of ``{good}`` that are put into ``{in}`` first; ``A -> B`` renames.
    """

    program: str
    title: str
    argv: tuple[str, ...]
    says: str
    file: str = ""
    whole: str = ""
    way: Callable | str | None = None
    beside: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What the case is called in a list of tests."""
        return f"{self.program.replace('examples.', '')}: {self.title}"


def every() -> list[Case]:
    """All cases, those of flags alone first."""
    return [
        *flags(),
        *conflicts(),
        *models(),
        *foreign(),
        *word_vectors(),
        *pictures(),
        *features(),
        *data_sets(),
        *runs(),
        *readers(),
    ]


class _Found(Exception):
    pass


def parser_of(program: str) -> argparse.ArgumentParser:
    """The parser that a program makes, taken from it at the moment of parsing."""

    def take(self, *_, **__):
        raise _Found(self)

    kept, argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_args, take
    try:
        importlib.import_module(program).parse_args([])
    except _Found as found:
        return found.args[0]
    finally:
        argparse.ArgumentParser.parse_args = kept
    raise AssertionError(f"{program} parses nothing")


WRONG = {"no number": "many", "NaN": "nan", "10^999": "1e999"}  # values that no flag of a single number takes


def flags() -> Iterator[Case]:
    """Each flag of each program with values of another kind, and without a value."""
    for program in PROGRAMS:
        yield Case(program, "an unknown flag", ("--no-such-flag",), "--")
        for action in parser_of(program)._actions:
            if not action.option_strings:
                continue
            flag = action.option_strings[-1]
            if action.nargs is None and not isinstance(action, argparse._HelpAction):
                yield Case(program, f"{flag} without a value", (flag,), flag)
            if action.choices:
                yield Case(program, f"{flag} nothing", (flag, "nothing"), flag)
            elif action.type is cli.stem:
                yield Case(program, f"{flag} in a folder", (flag, "a/b"), flag)
            elif action.type and isinstance(action.default, list):
                yield Case(program, f"{flag} of no numbers", (flag, "many"), flag)
            elif action.type:
                for kind, value in WRONG.items():
                    yield Case(program, f"{flag} {kind}", (flag, value), flag)


def _each(program: str, rows: Sequence[tuple[str, str, str]]) -> Iterator[Case]:
    for title, argv, says in rows:
        yield Case(program, title, tuple(argv.split()), says)


def conflicts() -> Iterator[Case]:
    """Flags that are missing, contradict each other or name what is not there."""
    yield from _each(
        "common.get_data",
        [
            ("nothing named", "", "name what to get"),
            ("an unknown name", "cub20", "did you mean cub200"),
            ("a file as folder", "cub200 --dir {good}/words.txt", "words.txt"),
            ("a mirror that is no archive", "grocery --dir {out}/d --mirror {good}/words.txt", "words.txt"),
            ("an archive of something else", "grocery --dir {out}/d --mirror {good}/words.zip", "words.zip"),
        ],
    )
    yield from _each(
        "common.launch",
        [
            ("no command", "-n 1", "command"),
            ("ssh without hosts", "-n 1 --launcher ssh -- true", "--host-file"),
            ("hosts that are not there", "-n 1 --launcher ssh -H {in}/none -- true", "--host-file"),
            ("no processes", "-n 0 -- true", "-n"),
        ],
    )
    packed = "--data-path {good}/pictures --output {out}/x.rec"
    yield from _each(
        "common.pack",
        [
            ("no output", "--data-path {good}/pictures", "--output"),
            ("an output that is no .rec", "--data-path {good}/pictures --output {out}/x", "--output"),
            ("an output in no folder", "--data-path {good}/pictures --output {out}/d/x.rec", "x.rec"),
            ("no data", "--output {out}/x.rec", "--data-path"),
            ("more shards than pictures", f"{packed} --shards 99", "--shards"),
            ("a box to keep of no data set", f"{packed} --keep-whole", "--keep-whole"),
        ],
    )
    e = "examples.embedding_learning"
    yield from _each(
        f"{e}.search",
        [
            ("nowhere to search", "{good}/pictures/a/0.png", "--gallery"),
            ("nothing to search for", "--gallery {good}/pictures", "--serve"),
            ("--rerank of two numbers", "{good}/pictures/a/0.png --gallery {good}/pictures --rerank 20,6", "--rerank"),
            ("--rerank by signs", "{good}/pictures/a/0.png --gallery {good}/pictures --kind binary --rerank 5,2,0.3",
             "--kind"),
            ("--query-expansion of three numbers", "{good}/pictures/a/0.png --gallery {good}/pictures"
             " --query-expansion 5,2,0", "--query-expansion"),
            ("--augmented-database by no neighbour", "{good}/pictures/a/0.png --gallery {good}/pictures"
             " --augmented-database 0,3", "--augmented-database"),
            ("--query-expansion and --rerank", "{good}/pictures/a/0.png --gallery {good}/pictures --query-expansion 5,3"
             " --rerank 5,2,0.3", "--rerank"),
            ("a query and --serve", "{good}/pictures/a/0.png --gallery {good}/pictures --serve", "--serve"),
            ("a gallery and a data set", "{good}/pictures/a/0.png --gallery x --dataset grocery", "--gallery"),
            ("--data-path without a data set", "{good}/pictures/a/0.png --gallery x --data-path y", "--data-path"),
            ("a data set that is not there", "--dataset grocery --data-path {in}/none --serve", "none is not there"),
            ("more numbers than the model has", "--gallery {good}/pictures --index {out}/x --width 129", "--width"),
        ],
    )
    yield from _each(
        f"{e}.embed",
        [
            ("no pictures named", "", "PATH"),
            ("output of another kind", "{good}/pictures --output {out}/x.txt", "--output"),
            ("output into no folder", "{good}/pictures --output {out}/none/x.npy", "--output"),
            ("more numbers than the model has", "{good}/pictures --output {out}/x.npy --width 129", "--width"),
        ],
    )
    yield from _each(
        f"{e}.compare",
        [
            ("an unknown loss", "--losses margin,circl", "--losses"),
            ("one seed", "--seeds 1", "--seeds"),
            ("one seed twice", "--seeds 1,1", "--seeds"),
            ("a network that has not learned", "--dataset folder --data-path {good}/pictures", "--use-pretrained"),
            ("nothing to tune on", "--dataset folder --data-path {good}/pictures --params x", "--validation-share"),
        ],
    )
    run = "--dataset folder --data-path {good}/pictures --run-dir {out}/run --epochs 1"
    lda = "--dataset folder --data-path {good}/pictures --run-dir {out}/run --head lda"
    csv = "--dataset csv --data-path {good}/table.csv --run-dir {out}/run"
    yield from _each(
        f"{e}.train",
        [
            ("an unknown data set", "--dataset nothing", "--dataset"),
            ("folder without a path", "--dataset folder", "--data-path"),
            ("an unknown model", f"{run} --model nothing", "nothing"),
            ("a GPU that is not there", f"{run} --gpus 99", "GPU"),
            ("an unknown test class", f"{run} --unseen nothing", "--unseen"),
            ("--head lda on nothing learned", f"{lda} --model conv4", "--head lda"),
            ("--head lda with a learning rate", f"{lda} --use-pretrained --lr 0.1", "--lr"),
            ("--head lda with --backbone-lr", f"{lda} --use-pretrained --backbone-lr 0.1", "--backbone-lr"),
            ("--head lda of two classes", f"{lda} --unseen c --use-pretrained", "LDA"),
            ("a table without a path", "--dataset csv", "--data-path"),
            ("columns of a folder", f"{run} --columns label=product", "--columns"),
            ("folders of a table", f"{csv} --class-depth 2", "--class-depth"),
            ("classes of many pictures alone", f"{run} --min-per-class 99", "--min-per-class"),
            ("--min-per-class of another set", "--dataset sop --min-per-class 2", "--min-per-class"),
            ("a column without a name", f"{csv} --columns product", "--columns"),
            ("an unknown column", f"{csv} --columns lable=product", "--columns"),
            ("a column of two names", f"{csv} --columns label=x label=y", "--columns"),
            ("a column that is not there", f"{csv} --columns label=product", "product"),
            ("test classes beside a table's own", f"{csv} --unseen a", "--unseen"),
            ("an unknown loss option", f"{run} --loss triplet --loss-options margn=1", "margn"),
            ("a loss option without a value", f"{run} --loss triplet --loss-options margin", "margin"),
            ("a loss option of 0", f"{run} --loss nt-xent --loss-options temperature=0", "temperature"),
            ("a loss option of half a centre", f"{run} --loss soft-triple --loss-options centres=0.5", "centres"),
            ("a loss option twice", f"{run} --loss cosface --loss-options scale=1 scale=2", "scale"),
            ("a loss option of the margin loss", f"{run} --loss-options margin=1", "--margin"),
            ("--beta of another loss", f"{run} --loss triplet --beta 1", "--beta"),
            ("--lr-classes without class vectors", f"{run} --lr-classes 0.1", "--lr-classes"),
            ("--class-start without class vectors", f"{run} --class-start random", "--class-start"),
            ("--miner of class vectors", f"{run} --loss arcface --miner all", "--miner"),
            ("--memory of class vectors", f"{run} --loss arcface --memory 10", "--memory"),
            ("--sampler groups without groups", f"{run} --model conv4 --sampler groups", "--sampler"),
            ("--sampler near of nothing learned", f"{run} --model conv4 --sampler near", "--sampler"),
            ("--matryoshka that falls", f"{run} --matryoshka 64,16,128", "--matryoshka"),
            ("--matryoshka of a part alone", f"{run} --matryoshka 16,32", "--embed-dim"),
            ("--gather on one device", f"{run} --model conv4 --gather", "--gather"),
            ("--gather of class vectors", f"{run} --loss arcface --gather", "--gather"),
            ("--gather without waiting", f"{run} --gather --kvstore dist_async", "--kvstore"),
            ("--gather compressed", f"{run} --gather --kvstore dist_sync --gradient-compression 1", "--gradient"),
            ("--whiten that falls", f"{run} --whiten 64,16", "--whiten"),
            ("--whiten beyond --embed-dim", f"{run} --whiten 16,256", "--embed-dim"),
            ("--head lda with --matryoshka", f"{lda} --use-pretrained --matryoshka 16,128", "--matryoshka"),
        ],
    )
    yield from _each(
        "examples.im2vec.train",
        [
            ("--input without --resume", "--input x", "--input"),
            ("--input over --output", "--resume --input x --output x", "--output"),
            ("--params with --input", "--resume --input x --params y", "--params"),
            ("pretrained resnet20", "--model resnet20 --use-pretrained", "resnet20"),
            ("--int8 from scratch", "--int8", "--int8"),
            (
                "an unknown model",
                "--dataset folder --data-path {good}/pictures --run-dir {out}/r --model nothing",
                "nothing",
            ),
        ],
    )
    yield from _each(
        "examples.im2vec.visualize",
        [
            ("nothing to show", "", "--input"),
            ("both sources", "--input x --run-dir y", "--run-dir"),
        ],
    )
    t = "examples.transfer"
    yield from _each(
        f"{t}.generate_embedding",
        [
            ("nothing to read", "", "-csv"),
            ("data without labels", "-data x", "-labels"),
            ("labels without data", "-labels x", "-data"),
            ("two sources", "-csv x --folder y", "-csv"),
            ("--class-depth of a list", "-csv x --class-depth 2", "--class-depth"),
            ("two formats", "-csv x -to-csv --parquet", "--parquet"),
            ("--int8 on a GPU", "-csv x --int8 --gpus 0", "--int8"),
            ("an unknown network", "-csv {good}/list.csv -tm nothing -dir {out}", "-tm"),
            ("a mean of ImageNet's weights", "-csv {good}/list.csv -dir {out} --mean 1 2 3", "--mean"),
            ("a deviation of 0..1", "-csv {good}/list.csv -dir {out} --deviation .2 .2 .2", "--deviation"),
            ("--resize below", "-csv {good}/list.csv -tm conv4 -weights None -dir {out} --resize 31", "--resize"),
            ("a grey picture", "-data {good}/pixels.npy -labels {good}/labels.npy -he 8 -w 24 -c 1 -dir {out}", "-c 1"),
            ("another height", "-data {good}/pixels.npy -labels {good}/labels.npy -he 9 -w 8 -dir {out}", "-he 9"),
        ],
    )
    yield from _each(f"{t}.predict", [("no pictures", "--params x", "FILE"), ("no classifier", "x.png", "--params")])
    yield from _each(
        f"{t}.train",
        [
            ("nothing to read", "", "--features"),
            ("two sources", "--features x --dataset folder", "--features"),
            ("--fine-tune without pictures", "--features x --fine-tune", "--fine-tune"),
            ("--image-size without pictures", "--features x --image-size 64", "--image-size"),
            ("--average without --fine-tune", "--data-path x --average 0.9", "--average"),
            ("batch norms of the last block", "--data-path x --fine-tune --freeze-batch-norm", "--freeze-batch-norm"),
            ("everybody's share", "--data-path {good}/pictures --fine-tune --validation-share 1", "--validation-share"),
            ("a mean of ImageNet's weights", "--data-path {good}/pictures --mean 1 2 3", "--mean"),
            ("a deviation of features", "--features {good}/x_data.npy --deviation 9 9 9", "--deviation"),
            ("--keep-aspect of whole pictures", "--data-path {good}/pictures --fine-tune --keep-aspect", "--crop-area"),
            ("--columns of features", "--features x --columns label=y", "--columns"),
            ("--min-per-class of features", "--features x --min-per-class 2", "--min-per-class"),
            ("--balance of neighbours", "--features x --classifier knn --balance", "--balance"),
            ("--int8 on a GPU", "--dataset folder --data-path {good}/pictures --int8 --gpus 0", "--int8"),
        ],
    )
    v = "examples.visual_semantic"
    of_folder = "--dataset folder --data-path {good}/pictures --run-dir {out}/r"
    yield from _each(f"{v}.analyze", [("no run named", "", "--run-dir")])
    yield from _each(
        f"{v}.lay_out_emoji",
        [
            ("no folder named", "", "--output"),
            ("a folder that is there", "--output {good}", "there already"),
            ("an unknown category", "--output {out}/x --data-path {good}/emoji --categories Nothing", "--categories"),
        ],
    )
    yield from _each(
        f"{v}.search",
        [
            ("nothing to do", "", "--text"),
            ("no index", "--text king --params {good}/emoji.params", "index"),
        ],
    )
    yield from _each(
        f"{v}.split_awa2",
        [
            ("nothing to do", "", "--copy"),
            ("copy and move", "--copy --move", "--move"),
            ("nothing to undo", "--undo --data-path {good}/awa2", "split.csv"),
        ],
    )
    yield from _each(
        f"{v}.train",
        [
            ("unknown stages", "--stages 7", "--stages"),
            ("more devices than pictures", f"{of_folder} --unseen a --num-cpus 64", "64 devices"),
            (
                "a word without =",
                "--words ox --dataset awa2 --data-path {good}/awa2 --word-vectors {good}/words.txt --run-dir {out}/r",
                "--words",
            ),
            ("features without a folder", "--dataset xian --run-dir {out}/r", "--data-path"),
            ("features of a folder without", "--dataset xian --data-path {good} --run-dir {out}/r", "res101.mat"),
            ("--unseen of features", "--dataset xian --data-path {good} --unseen a --run-dir {out}/r", "--unseen"),
        ],
    )
    yield from _each(
        f"{v}.tune",
        [
            ("no class to hold back", f"{of_folder} --unseen a", "seen classes"),
            ("a model that knows the classes", f"{of_folder} --params {{good}}/emoji.params", "--params"),
        ],
    )
    yield from _each("examples.vse.search", [("nothing to do", "x", "--text")])
    yield from _each(
        "examples.vse.train",
        [
            ("--int8 with --finetune", "--int8 --finetune", "--int8"),
            ("dist_async", "--kvstore dist_async", "--kvstore"),
            ("flags of words with minilm", "--encoder minilm --bidirectional", "--bidirectional"),
            ("--finetune-text of an encoder that is trained anyway", "--finetune-text", "--finetune-text"),
            ("captions without pictures", "--captions {good}/list.csv --run-dir {out}/r", "--images"),
            ("an unknown data set", "--data nothing --run-dir {out}/r", "--data"),
        ],
    )


def _broken(program, ways: dict, argv: str, file: str, whole: str, says="", beside=(), title="") -> Iterator[Case]:
    """A case for each way to break one file."""
    for name, way in ways.items():
        yield Case(
            program,
            f"{title or file}: {name}",
            tuple(argv.split()),
            says or file.rsplit("/", 1)[-1].split(".")[0],
            file,
            whole,
            way,
            tuple(beside),
        )


def models() -> Iterator[Case]:
    """Model files; those of before, and the .json beside some of them."""
    picture = "{good}/pictures/a/0.png"
    embed = "examples.embedding_learning.embed", f"{picture} --output {{out}}/x.npy --params {{in}}/m.params"
    find = "examples.embedding_learning.search", f"{picture} --gallery {{good}}/pictures --params {{in}}/m.params"
    search = "examples.visual_semantic.search", "--text king --params {in}/m.params"
    export = "examples.visual_semantic.export", "--params {in}/m.params --output {out}/x"
    evaluate = "examples.visual_semantic.evaluate", "--params {in}/m.params"
    rank = "examples.vse.evaluate", "{in}/m.params --data f8k --data-path {good}/f8k"
    ask = "examples.vse.search", "{in}/m.params --text dog --data f8k --data-path {good}/f8k"
    start = (
        "examples.vse.train",
        "--start {in}/m.params --data f8k --data-path {good}/f8k --run-dir {out}/r"
        " --dim 3 --dim_word 2 --dim_image 4 --encoder gru",
    )
    draw = "examples.im2vec.visualize", "--input {in}/m.params --output {out}/v"
    resume = (
        "examples.im2vec.train",
        "--resume --input {in}/m.params --output {out}/n.params --run-dir {out}/r"
        " --dataset cifar10 --data-path {good}/cifar10",
    )
    predict = "examples.transfer.predict", f"{picture} --params {{in}}/m.params"
    packages = {
        name: (f"examples.{name}.export", f"--{flag} {{in}}/m.params --package {{out}}/x")
        for name, flag in (("embedding_learning", "params"), ("vse", "params"), ("im2vec", "input"),
                           ("transfer", "params"))  # fmt: skip
    }
    of_embedding = {**makers.OF_NETWORK, **makers.OF_EMBEDDING}
    of_words = {**makers.OF_NETWORK, **makers.OF_WORDS}
    # Today's: broken as any file, as a file of arrays, as a model file, and in the metadata of each example.
    for programs, whole, other, metadata in (
        ((embed, find, packages["embedding_learning"]), "embedding", "words", {**of_embedding, **makers.OF_PICTURES}),
        ((search, export, evaluate), "words", "embedding", {**of_words, **makers.OF_PICTURES}),
        ((rank, ask, start, packages["vse"]), "vse", "im2vec", makers.OF_SENTENCES),
        ((draw, resume, packages["im2vec"]), "im2vec", "vse", makers.OF_CLASSES),
        ((predict, packages["transfer"]), "classifier", "vse", makers.OF_CLASSIFIER),
    ):
        ways = {**makers.ANY, **makers.PARAMS, **makers.MODEL}
        ways.update({name: makers.described(**values) for name, values in metadata.items()})
        for program, argv in programs:
            yield from _broken(program, ways, argv, "m.params", f"{whole}.params", says="m.params")
            another = {"of another example": bytes}
            yield from _broken(program, another, argv, "m.params", f"{other}.params", says="m.params")
            some = ("missing", "cut", "tail", "huge", "a flipped byte", "a newer version")  # of one reader the rest
            ways = {name: ways[name] for name in some}
    # Those of before: parameters with a .json beside them, parameters and metadata in one file, and .npz.
    for (program, argv), whole, values in ((embed, "glyphs_conv4", of_embedding), (search, "emoji", of_words)):
        sidecar, params = f"{whole}.json -> m.json", f"{whole}.params -> m.params"
        ways = {**makers.ANY, **makers.PARAMS}
        yield from _broken(program, ways, argv, "m.params", f"{whole}.params", "m.", [sidecar], "m.params of before")
        other = {"of another network": bytes}
        yield from _broken(program, other, argv, "m.params", "conv4.params", "m.", [sidecar], "m.params of before")
        ways = {**makers.JSON, **{name: makers.changed(**one) for name, one in values.items()}, "missing": None}
        yield from _broken(program, ways, argv, "m.json", f"{whole}.json", says="m.", beside=[params])
    for (program, argv), whole, other in ((rank, "old_vse", "old_im2vec"), (draw, "old_im2vec", "old_vse")):
        ways = {**makers.ANY, **makers.PARAMS}
        title = "m.params of before"
        yield from _broken(program, ways, argv, "m.params", f"{whole}.params", "m.params", title=title)
        another = {"of another example": bytes}
        yield from _broken(program, another, argv, "m.params", f"{other}.params", "m.params", title=title)
    yield from _broken(
        "examples.transfer.predict", makers.NPZ, f"{picture} --params {{in}}/c.npz", "c.npz", "classifier.npz"
    )


def foreign() -> Iterator[Case]:
    """Parameters for the network from outside, and what lies beside them."""
    run = "--dataset folder --data-path {good}/pictures --run-dir {out}/r --image-size 32 --epochs 1"
    csv = "-csv {good}/list.csv -dir {out}"
    for file, ways in makers.FOREIGN.items():
        network = "MobileNet" if file.endswith(".h5") else "conv4"
        yield from _broken(
            "examples.transfer.generate_embedding", ways, f"{csv} -tm {network} -weights {{in}}/{file}", file, ""
        )
        network = "keras-mobilenet" if file.endswith(".h5") else "conv4"
        yield from _broken(
            "examples.embedding_learning.train", ways, f"{run} --model {network} --params {{in}}/{file}", file, ""
        )
    ways = {**makers.ANY, **makers.PARAMS}
    for program, argv in (
        ("examples.transfer.generate_embedding", f"{csv} -tm conv4 -weights {{in}}/net.params"),
        ("examples.embedding_learning.train", f"{run} --model conv4 --params {{in}}/net.params"),
    ):
        yield from _broken(program, ways, argv, "net.params", "conv4.params")
        yield from _broken(program, makers.JSON, argv, "net.json", "conv4.json", beside=["conv4.params -> net.params"])


def word_vectors() -> Iterator[Case]:
    """Files of word vectors."""
    argv = "--output {out}/x --data-path {good}/emoji --categories Objects --word-vectors {in}/"
    program = "examples.visual_semantic.lay_out_emoji"
    for file, ways in (
        ("words.txt", makers.WORD_TEXT),
        ("words.bin", makers.WORD_BINARY),
        ("words.txt.gz", makers.WORD_GZIP),
        ("words.zip", makers.WORD_ZIP),
    ):
        ways = {name: way for name, way in ways.items() if name != "other width"}  # which this program takes
        yield from _broken(program, ways, argv + file, file, file)
    vse = "--data f8k --data-path {good}/f8k --run-dir {out}/r --dim_image 4 --word-vectors {in}/w.txt"
    yield from _broken("examples.vse.train", makers.WORD_TEXT, vse, "w.txt", "words.txt")


def pictures() -> Iterator[Case]:
    """Pictures given one by one, as folders and as lists."""
    for program, argv in (
        ("examples.embedding_learning.embed", "{in}/p.png --output {out}/x.npy"),
        ("examples.embedding_learning.search", "{in}/p.png --gallery {good}/pictures"),
        ("examples.visual_semantic.search", "--image {in}/p.png --gallery {good}/pictures --index {out}/i"),
        ("examples.transfer.predict", "{in}/p.png --params {good}/classifier.params"),
    ):
        yield from _broken(program, makers.PICTURE, argv, "p.png", "pictures/a/0.png")
    lists = {
        "empty": lambda whole: b"",
        "missing": None,
        "of what is not there": lambda whole: b"none.png\n",
        "random": makers.ANY["random"],
    }
    for program, argv in (
        ("examples.embedding_learning.embed", "{in}/list.txt --output {out}/x.npy"),
        ("examples.visual_semantic.search", "--image {in}/list.txt"),
        ("examples.visual_semantic.export", "--pictures {in}/list.txt --output {out}/x"),
        ("examples.embedding_learning.export", "--pictures {in}/list.txt --package {out}/x"),
    ):
        yield from _broken(program, lists, argv, "list.txt", "", says="list.txt")


def features() -> Iterator[Case]:
    """What transfer reads: features, pixels, labels and lists of pictures."""
    program = "examples.transfer.train"
    run = "--run-dir {out}/r --classifier knn --features {in}/"
    yield from _broken(program, makers.NPY, run + "x_data.npy", "x_data.npy", "x_data.npy", beside=["x_labels.npy"])
    yield from _broken(
        program, makers.NPY, run + "x_data.npy", "x_labels.npy", "x_labels.npy", says="x_", beside=["x_data.npy"]
    )
    yield from _broken(program, makers.ANY, run + "x.parquet", "x.parquet", "")
    table = {name: makers.ANY[name] for name in ("missing", "folder", "empty", "random", "zeros", "text")}
    table.update(
        {
            "a text for a number": lambda whole: whole.replace(b"3.5", b"x"),
            "a short row": lambda whole: whole.replace(b",3.5,1", b",3.5"),
            "NaN": lambda whole: whole.replace(b"3.5", b"nan"),
            "header alone": lambda whole: b"Class,n0,n1\n",
        }
    )
    yield from _broken(program, table, run + "x.csv", "x.csv", "x.csv")
    program = "examples.transfer.generate_embedding"
    pixels = "-data {in}/d.npy -labels {in}/l.npy -he 8 -w 8 -tm conv4 -weights None -dir {out}"
    wrong = {name: way for name, way in makers.NPY.items() if name != "zeros"}
    yield from _broken(program, wrong, pixels, "d.npy", "pixels.npy", beside=["labels.npy -> l.npy"])
    yield from _broken(program, makers.ANY, pixels, "l.npy", "labels.npy", beside=["pixels.npy -> d.npy"])
    rows = {
        "one column": lambda whole: b"a\n",
        "three columns": lambda whole: b"a,b,c\n",
        "no path": lambda whole: b"a,\n",
        "no such picture": lambda whole: b"a,none.png\n",
        "not a picture": lambda whole: b"a,list.csv\n",
        **{name: makers.ANY[name] for name in ("missing", "folder", "empty", "random", "text")},
    }
    yield from _broken(program, rows, "-csv {in}/list.csv -tm conv4 -weights None -dir {out}", "list.csv", "list.csv")


def data_sets() -> Iterator[Case]:
    """Folders of data: not there, a file, empty, and with one broken file."""
    trains = {
        "examples.embedding_learning.train": (
            "cub200",
            "cars196",
            "sop",
            "cifar10",
            "cifar100",
            "omniglot",
            "emoji",
            "grocery",
            "folder",
            "csv",
        ),
        "examples.im2vec.train": ("cifar10", "cifar100", "emoji", "grocery", "folder", "csv"),
        "examples.visual_semantic.train": ("awa2", "emoji", "grocery", "folder", "csv"),
        "examples.transfer.train": ("cifar10", "cub200", "grocery", "folder", "csv"),
        "examples.vse.train": ("f8k", "f30k", "coco", "flickr8k", "grocery"),
    }
    for program, names in trains.items():
        for name in names:
            argv = tuple(f"--dataset {name} --data-path {{in}}/data --run-dir {{out}}/r".split())
            for title, file, way in (
                ("not there", "data", None),
                ("a file", "data", makers.ANY["text"]),
                ("an empty folder", "data", "folder"),
            ):
                if program == "examples.im2vec.train" and name not in ("folder", "csv") and title != "a file":
                    continue  # it fetches these
                yield Case(program, f"--dataset {name}: {title}", argv, "data", file, "", way)
    for action in ("--copy", "--move", "--undo"):
        for title, way in (("not there", None), ("a file", makers.ANY["text"]), ("an empty folder", "folder")):
            argv = ("--data-path", "{in}/data", action)
            yield Case("examples.visual_semantic.split_awa2", f"{action} {title}", argv, "data", "data", "", way)
    yield from _sets()


def _sets() -> Iterator[Case]:
    """One broken file in each data set."""

    def of(name, file, ways, program="examples.embedding_learning.train", more=""):
        argv = f"--dataset {name} --data-path {{in}}/{name} --run-dir {{out}}/r {more}"
        yield from _broken(
            program, ways, argv, f"{name}/{file}", f"{name}/{file}", says=name, beside=[name], title=f"{name}/{file}"
        )

    flags = "--dataset csv --data-path {in}/table.csv --run-dir {out}/r"
    some = ("missing", "no column label", "no such picture", "a box outside", "nothing to train on")
    for program, ways, more in (
        ("examples.embedding_learning.train", makers.TABLE, "--model conv4"),
        ("examples.im2vec.train", {name: makers.TABLE[name] for name in some}, ""),
        ("examples.transfer.train", {name: makers.TABLE[name] for name in some}, "--model conv4 --weights None"),
        ("examples.visual_semantic.train", {name: makers.TABLE[name] for name in some}, "--model conv4"),
    ):
        says = "table" if program.startswith("examples.embedding") else "table.csv"
        yield from _broken(program, ways, f"{flags} {more}", "table.csv", "table.csv", says, ["pictures"])
    table = {"missing": None, "random": makers.ANY["random"], "text": makers.ANY["text"], "empty": makers.ANY["empty"]}
    lines = {
        **table,
        "class 9": lambda whole: whole.replace(b"2 2", b"2 9"),
        "class 0": lambda whole: whole.replace(b"2 2", b"2 0"),
    }
    box = {
        **table,
        "NaN": lambda whole: whole.replace(b"9 9", b"nan 9"),
        "no width": lambda whole: whole.replace(b"9 9", b"0 9"),
        "three numbers": lambda whole: whole.replace(b" 9 9", b" 9"),
    }
    yield from of("cub200", "images.txt", table)
    yield from of("cub200", "image_class_labels.txt", lines)
    yield from of("cub200", "bounding_boxes.txt", box)
    yield from of("sop", "Ebay_train.txt", table)
    yield from of(
        "cifar10", "batches.meta.txt", {"missing": None, "random": makers.ANY["random"], "empty": makers.ANY["empty"]}
    )
    batch = {
        "missing": None,
        "empty": makers.ANY["empty"],
        "cut": makers.ANY["tail"],
        "class 200": lambda whole: b"\xc8" + whole[1:],
    }
    yield from of("cifar10", "data_batch_3.bin", batch)
    yield from of("cifar10", "test_batch.bin", batch, "examples.im2vec.train")
    yield from of("emoji", "classes.csv", table)
    yield from of("emoji", "captions.txt", {name: table[name] for name in ("missing", "random", "text")})
    listed = {
        **table,
        "class 9": lambda whole: whole.replace(b", 1, 0", b", 9, 0"),
        "another group": lambda whole: whole.replace(b", 1, 0", b", 1, 1"),
        "a path outside": lambda whole: whole.replace(b"train/0", b"../0"),
        "a picture that is not there": lambda whole: whole.replace(b"train/0", b"train/7"),
    }
    products = {
        **table,
        "twice the same number": lambda whole: whole.replace(b"lime,1", b"lime,0"),
        "a path outside": lambda whole: whole.replace(b"/lime.txt", b"/../lime.txt"),
        "a description that is not there": lambda whole: whole.replace(b"/lime.txt", b"/none.txt"),
    }
    yield from of("grocery", "train.txt", listed)
    yield from of("grocery", "classes.csv", products, "examples.transfer.train")
    yield from of("grocery", "lime.txt", {**table, "text": lambda whole: b" \n"}, "examples.vse.train")
    words = "--word-vectors {good}/words.txt"
    yield from of(
        "awa2",
        "classes.txt",
        {**table, "twice": lambda whole: whole + b"4\ta\n", "a path": lambda whole: whole + b"4\t../x\n"},
        "examples.visual_semantic.train",
        words,
    )
    for part in ("train", "test"):
        yield from of(
            "awa2",
            f"{part}classes.txt",
            {
                "missing": None,
                "random": makers.ANY["random"],
                "empty": makers.ANY["empty"],
                "unknown": lambda whole: b"nothing\n",
            },
            "examples.visual_semantic.train",
            words,
        )
    vse = "--dim_image 4"
    yield from of(
        "f8k",
        "f8k_train_ims.npy",
        {name: way for name, way in makers.NPY.items() if name != "missing"},
        "examples.vse.train",
        vse,
    )
    yield from of(
        "f8k",
        "f8k_train_caps.txt",
        {
            "missing": None,
            "empty": makers.ANY["empty"],
            "random": makers.ANY["random"],
            "one line": lambda whole: b"a dog\n",
        },
        "examples.vse.train",
        vse,
    )


def runs() -> Iterator[Case]:
    """Run folders that are not there or not as they should be."""
    for program, argv in (
        (
            "examples.embedding_learning.train",
            "--resume --run-dir {in}/run --dataset folder --data-path {good}/pictures",
        ),
        ("examples.im2vec.train", "--resume --run-dir {in}/run --dataset cifar10 --data-path {good}/cifar10"),
        ("examples.transfer.train", "--resume --run-dir {in}/run --dataset folder --data-path {good}/pictures"),
        (
            "examples.visual_semantic.train",
            "--resume --run-dir {in}/run --dataset awa2 --data-path {good}/awa2 --word-vectors {good}/words.txt",
        ),
        ("examples.vse.train", "--resume --run-dir {in}/run --data f8k --data-path {good}/f8k"),
        ("examples.visual_semantic.analyze", "--run-dir {in}/run"),
        ("examples.im2vec.visualize", "--run-dir {in}/run"),
        ("examples.im2vec.compare", "{in}/run {in}/run"),
    ):
        if not program.endswith(".train"):  # which begin a run where there is none to continue
            ways = {"missing": None, "a file": makers.ANY["text"], "empty": "folder"}
            yield from _broken(program, ways, argv, "run", "")
        ways = {name: makers.JSON[name] for name in ("empty", "list", "null", "cut", "random")}
        yield from _broken(program, ways, argv, "run/args.json", "", says="run", title="run/args.json")


def readers() -> Iterator[Case]:
    """Readers that programs share, called with the file."""
    for file, ways in makers.FOREIGN.items():
        reader = "keras:read_keras" if file.endswith(".h5") else "torch:read_torch"
        yield from _broken(f"common.backbones.convert.{reader}", ways, f"{{in}}/{file}", file, "")
    pickles = {
        **{name: makers.ANY[name] for name in ("missing", "empty", "random", "text")},
        "code": makers.FOREIGN["net.pth"]["code"],
    }
    yield from _broken("common.backbones.convert.pickles:read_array_pickle", pickles, "{in}/net.pkl", "net.pkl", "")
    yield from _broken(
        "common.text.vocabulary:Vocabulary.load",
        {name: makers.JSON[name] for name in ("empty", "list", "null", "cut")},
        "{in}/words.json",
        "words.json",
        "glyphs_conv4.json",
    )
