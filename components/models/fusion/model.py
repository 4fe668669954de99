"""Images and captions in one encoder, trained to align, to match, to fill masked words and to answer questions.

Li et al. 2021, "Align before Fuse: Vision and Language Representation Learning with Momentum Distillation" (ALBEF); the other shapes stand in
`networks.py`. Questions as classification over closed answers: Kim et al. 2021, "ViLT", section 4.3.
"""

import copy
import math
from collections.abc import Iterable
from typing import NamedTuple

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from components.models.capabilities import DataSpec, Judged
from components.models.fusion.config import FusionConfig
from components.models.fusion.networks import NETWORKS, Fused, mean_of
from components.models.layers.contrastive import clamped_scale, contrastive_loss, partners_alike, same_rows
from components.models.layers.conv import zeroed
from components.models.layers.masking import choose_masked
from components.models.layers.optimisation import adamw, warm_cosine
from components.models.token_rows import FIRST_OF_TEXT, mask_of, token_rows

Batch = dict[str, Tensor]
PAIRS_AT_ONCE = 1024
SHARED_WORDS_SCALE = 10.0


class Encoder(nn.Module):
    """All that is trained; momentum distillation keeps a second one."""

    def __init__(self, config: FusionConfig, data: DataSpec) -> None:
        super().__init__()
        self.network = NETWORKS[config.shape](config, data)
        self.aligned = config.shape != "single-stream"
        if self.aligned:
            self.from_image = nn.Linear(config.width, config.embedding_dim, bias=False)
            self.from_text = nn.Linear(config.width, config.embedding_dim, bias=False)
            self.log_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.matching = zeroed(nn.Linear(config.width, 1))
        self.to_word = nn.Sequential(nn.Linear(config.width, config.width), nn.GELU(), nn.LayerNorm(config.width))
        self.word_bias = nn.Parameter(torch.zeros(data.vocab_size))
        num_answers = sum(len(question.answers) for question in data.questions)
        self.answering = zeroed(nn.Linear(config.width, num_answers)) if num_answers else None

    def image_vectors(self, seen: Tensor) -> Tensor:
        return F.normalize(self.from_image(seen[:, 0]), dim=1)

    def text_vectors(self, read: Tensor, mask: Tensor) -> Tensor:
        return F.normalize(self.from_text(mean_of(read, mask)), dim=1)

    def word_logits(self, words: Tensor) -> Tensor:
        """Logits [M, V] of what stands at places whose fused states [M, D] are given; the vectors of the tokens are those that are read."""
        return self.to_word(words) @ self.network.words.tokens.weight[:-1].T + self.word_bias

    @property
    def scale(self) -> Tensor:
        return clamped_scale(self.log_scale)


class Fusion(pl.LightningModule):
    """Images [N, C, S, S] in [0, 1] and tokens [N, T], together."""

    questions: Tensor
    """Of each question its tokens, [Q, caption_length]."""
    question_of: Tensor
    """Of each answer the question that it belongs to, [K]."""

    def __new__(cls, config: FusionConfig, data: DataSpec) -> "Fusion":
        """Shapes with vectors of their own can do more."""
        return super().__new__(cls if config.shape == "single-stream" else AlignedFusion)

    def __init__(self, config: FusionConfig, data: DataSpec) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.caption_length, self.mask_token = config.caption_length, data.vocab_size
        self.encoder = Encoder(config, data)
        self.teacher: Encoder | None = None
        asked = [question.text for question in data.questions]
        rows = token_rows(data.tokenizer, asked, config.caption_length).tokens if asked else torch.zeros(0, config.caption_length, dtype=torch.int64)
        sizes = torch.tensor([len(question.answers) for question in data.questions], dtype=torch.int64)
        self.register_buffer("questions", rows, persistent=False)
        self.register_buffer("question_of", torch.arange(len(asked)).repeat_interleave(sizes), persistent=False)
        self.first_answers = (sizes.cumsum(0) - sizes).tolist()

    # -- training ------------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Keep the slowly moving copy, in training alone: before a checkpoint is read, and never where a package is."""
        if self.config.distil_weight and self.teacher is None:
            self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        self._move_teacher()
        losses = self._losses(batch, fuses=self.global_step >= self.config.align_steps or not self.encoder.aligned)
        loss = self._weighed(losses)
        self.log("train/loss", loss, prog_bar=True)
        for name, part in losses.items():
            self.log(f"train/{name}", part)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        losses = self._losses(batch, fuses=True)
        for name, part in {"loss": self._weighed(losses), **losses}.items():
            self.log(f"validation/{name}", part, prog_bar=name == "loss", batch_size=len(batch["tokens"]))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Linear warm-up, then a cosine to zero."""
        return adamw(self.encoder, self.config, lambda step: warm_cosine(step, self.config.warmup_steps, self.config.max_steps))

    def _weighed(self, losses: dict[str, Tensor]) -> Tensor:
        return torch.stack([getattr(self.config, f"{name}_weight") * part for name, part in losses.items()]).sum()

    def _losses(self, batch: Batch, *, fuses: bool) -> dict[str, Tensor]:
        """Each loss by its name; those that fuse are of the first `fused_rows` pairs."""
        tokens = _trimmed(batch["tokens"])
        mask, network = mask_of(tokens), self.encoder.network
        seen, read = network.see(batch["image"]), network.read(tokens, mask)
        same, likeness, losses = same_rows(tokens), _shared_words(tokens), dict[str, Tensor]()
        if self.encoder.aligned:
            logits = self.encoder.scale * self.encoder.image_vectors(seen) @ self.encoder.text_vectors(read, mask).T
            losses["contrastive"] = contrastive_loss(logits, *self._partners(batch["image"], tokens, same))
            likeness = logits.detach()
        if not fuses:
            return losses
        few = min(self.config.fused_rows, len(tokens))
        losses["matching"] = self._matching_loss(seen, read, mask, likeness, same, few)
        losses["masked"] = self._masked_loss(batch["image"][:few], seen[:few], tokens[:few])
        if len(self.questions) and "answers" in batch:
            losses["answer"] = self._answer_loss(seen[:few], batch["answers"][:few])
        return losses

    def _matching_loss(self, seen: Tensor, read: Tensor, mask: Tensor, likeness: Tensor, same: Tensor, few: int) -> Tensor:
        """Binary cross entropy in nats, pairs and strangers weighing the same. The stranger of an image, or of a caption, is drawn the oftener the liker."""
        likeness = self.config.hardness * likeness
        for_images, for_captions = strangers(likeness[:few], same[:few]), strangers(likeness.T[:few], same[:few])
        images = torch.cat([torch.arange(few, device=seen.device), for_images.rows, for_captions.drawn])
        captions = torch.cat([torch.arange(few, device=seen.device), for_images.drawn, for_captions.rows])
        logits = self.encoder.matching(self.encoder.network.fuse(seen[images], read[captions], mask[captions]).joint).squeeze(1)
        pairs, wrong = F.softplus(-logits[:few]).mean(), F.softplus(logits[few:])
        return (pairs + wrong.mean()) / 2 if len(wrong) else pairs

    def _masked_loss(self, images: Tensor, seen: Tensor, tokens: Tensor) -> Tensor:
        """Mean negative log likelihood in nats of the hidden tokens of captions, their images in view."""
        chosen = choose_masked(tokens, self.config.mask_rate, FIRST_OF_TEXT)
        hidden = tokens.masked_fill(chosen, self.mask_token)
        logits = self.encoder.word_logits(self._fused(self.encoder, seen, hidden).words[chosen])
        wanted = F.one_hot(tokens[chosen], self.data.vocab_size).float()
        if self.teacher is not None:
            with torch.no_grad():
                taught = self.teacher.word_logits(self._fused(self.teacher, self.teacher.network.see(images), hidden).words[chosen]).softmax(dim=1)
            wanted = torch.lerp(wanted, taught, self._distil_weight)
        return F.cross_entropy(logits, wanted)

    def _answer_loss(self, seen: Tensor, answers: Tensor) -> Tensor:
        """Mean negative log likelihood in nats of the answers [N, Q] (-1: there is none) to one question of each image, drawn."""
        asked = torch.randint(len(self.questions), (len(seen),), device=seen.device)
        found = answers.gather(1, asked[:, None]).squeeze(1)
        first = torch.tensor(self.first_answers, device=seen.device)[asked]
        wanted = torch.where(found < 0, found.new_full((), -100), found + first)
        losses = F.cross_entropy(self._answer_logits(seen, asked), wanted, ignore_index=-100, reduction="sum")
        return losses / (found >= 0).sum().clamp(min=1)

    def _fused(self, encoder: Encoder, seen: Tensor, tokens: Tensor) -> Fused:
        mask = mask_of(tokens)
        return encoder.network.fuse(seen, encoder.network.read(tokens, mask), mask)

    def _answer_logits(self, seen: Tensor, asked: Tensor) -> Tensor:
        """Of all answers, [N, K]; minus infinity at those of other questions than ``asked`` [N]."""
        assert self.encoder.answering is not None, "there are no questions"
        logits = self.encoder.answering(self._fused(self.encoder, seen, _trimmed(self.questions[asked])).joint)
        return logits.masked_fill(self.question_of != asked[:, None], -torch.inf)

    # -- momentum distillation -----------------------------------------------------------------------------------

    @property
    def _distil_weight(self) -> float:
        return self.config.distil_weight * min(1.0, self.global_step / self.config.distil_warmup_steps)

    @torch.no_grad()
    def _move_teacher(self) -> None:
        """One step of the moving average (section 3.4)."""
        if self.teacher is not None:
            self.teacher.eval()
            torch._foreach_lerp_(list(self.teacher.parameters()), list(self.encoder.parameters()), 1 - self.config.distil_decay)

    @torch.no_grad()
    def _partners(self, images: Tensor, tokens: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
        """What contrast is to find for each image and for each caption, both [N, N]."""
        wanted = partners_alike(same)
        if self.teacher is None:
            return wanted, wanted
        network = self.teacher.network
        mask = mask_of(tokens)
        texts = self.teacher.text_vectors(network.read(tokens, mask), mask)
        logits = self.teacher.scale * self.teacher.image_vectors(network.see(images)) @ texts.T
        return torch.lerp(wanted, logits.softmax(dim=1), self._distil_weight), torch.lerp(wanted, logits.T.softmax(dim=1), self._distil_weight)

    def finish(self, batches: Iterable[Batch]) -> None:
        """Let the copy go: it is a part of training, and of no package."""
        self.teacher = None

    # -- capabilities --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def judge_pairs(self, images: Tensor, tokens: Tensor, pairs: Tensor) -> Judged:
        network, tokens = self.encoder.network, _trimmed(tokens)
        mask = mask_of(tokens)
        seen, read = network.see(images), network.read(tokens, mask)
        joints = [network.fuse(seen[image], read[caption], mask[caption]).joint for image, caption in (chunk.T for chunk in pairs.split(PAIRS_AT_ONCE))]
        odds = self.encoder.matching(torch.cat(joints)).squeeze(1)
        return Judged(odds.sigmoid(), odds + self._likeness(seen, read, mask, pairs))

    def _likeness(self, seen: Tensor, read: Tensor, mask: Tensor, pairs: Tensor) -> Tensor:
        """What vectors say of ``pairs``, [M]: matching was learnt from wrong partners that are alike to them, and tells only what they do not."""
        return torch.zeros(len(pairs), device=seen.device)

    @torch.no_grad()
    def answer_question(self, images: Tensor, question: int) -> Tensor:
        asked = torch.full((len(images),), question, device=images.device)
        first, num = self.first_answers[question], len(self.data.questions[question].answers)
        return self._answer_logits(self.encoder.network.see(images), asked)[:, first : first + num].softmax(dim=1)

    @torch.no_grad()
    def fill_captions(self, images: Tensor, tokens: Tensor) -> Tensor:
        words = self._fused(self.encoder, self.encoder.network.see(images), tokens).words
        logits = self.encoder.word_logits(words[tokens == self.mask_token])
        logits[:, :FIRST_OF_TEXT] = -torch.inf  # a gap holds text, never a mark
        return logits.log_softmax(dim=-1)


class AlignedFusion(Fusion):
    """One whose image and text are understood by themselves first, and so have vectors in one space."""

    def _likeness(self, seen: Tensor, read: Tensor, mask: Tensor, pairs: Tensor) -> Tensor:
        images, texts = self.encoder.image_vectors(seen), self.encoder.text_vectors(read, mask)
        return self.encoder.scale * (images[pairs[:, 0]] * texts[pairs[:, 1]]).sum(dim=1)

    @torch.no_grad()
    def embed_images(self, images: Tensor) -> Tensor:
        return self.encoder.image_vectors(self.encoder.network.see(images))

    @torch.no_grad()
    def embed_captions(self, tokens: Tensor) -> Tensor:
        tokens = _trimmed(tokens)
        mask = mask_of(tokens)
        return self.encoder.text_vectors(self.encoder.network.read(tokens, mask), mask)


class Strangers(NamedTuple):
    """Wrong partners of some rows."""

    rows: Tensor
    """[M], those that have one."""
    drawn: Tensor
    """[M], which one each of them got."""


def strangers(likeness: Tensor, same: Tensor) -> Strangers:
    """A wrong partner for each row of ``likeness`` [N, P], drawn by its softmax; what is the ``same`` [N, P] is no wrong one.

    Draws from the process-wide generator, which training seeds at every step.
    """
    rows = (~same).any(dim=1).nonzero().squeeze(1)
    shares = likeness[rows].masked_fill(same[rows], -torch.inf).softmax(dim=1)
    return Strangers(rows, torch.multinomial(shares, 1).squeeze(1) if len(rows) else rows)


def _shared_words(tokens: Tensor) -> Tensor:
    """How much captions [N, T] have in common, [N, N]: what stands in for likeness where images have no vectors.

    The shared tokens of each two, as a part of the longer one's; so many times over that the likest is drawn about every second time.
    """
    kinds = torch.zeros(len(tokens), int(tokens.max()) + 1, device=tokens.device).scatter_(1, tokens, 1.0)[:, FIRST_OF_TEXT:]
    lengths = kinds.sum(dim=1)
    return SHARED_WORDS_SCALE * (kinds @ kinds.T) / torch.maximum(lengths[:, None], lengths[None]).clamp(min=1)


def _trimmed(tokens: Tensor) -> Tensor:
    """Rows [N, T] without the columns in which all are padding."""
    return tokens[:, : int(mask_of(tokens).any(dim=0).sum())]
