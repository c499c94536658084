"""Dropout: a layer, and the last part of other layers."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from voxray.config.validation import Spec
from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Layer, Modules, Shape, Step

KEYS = {"drop_out", "dropout"}


class DropoutKeys(Spec):
    """The two spellings of the probability of dropout; one of them is given, the other one follows from it."""

    drop_out: Annotated[
        float, Field(ge=0, lt=100, strict=True, description="percentage dropped after the activation while training")
    ] = 0
    dropout: Annotated[
        float, Field(ge=0, lt=1, strict=True, description="the same as a fraction, in place of drop_out")
    ] = 0

    @model_validator(mode="after")
    def _only_one(self) -> Self:
        given = self.model_fields_set & KEYS
        if len(given) > 1:
            raise ValueError("dropout: give either 'dropout' (a fraction) or 'drop_out' (a percentage), not both")
        if "dropout" in given:
            self.__dict__["drop_out"] = round(100 * self.dropout, 10)
        else:
            self.__dict__["dropout"] = self.drop_out / 100
        return self

    def dropout_text(self) -> str:
        """The percentage in words, empty for none."""
        return f"drop {self.drop_out:g} %" if self.drop_out else ""

    def dropout_modules(self) -> Modules:
        """The torch module, or none."""
        from torch import nn

        return [nn.Dropout(self.dropout)] if self.dropout else []


class DropoutLayer(DropoutKeys, Layer):
    """A layer that ends with dropout."""

    def drop(self, network: Operations, value: Value) -> Value:
        """Add the dropout to `network`, if there is any."""
        return network.drop_out(value) if self.drop_out else value


class Dropout(DropoutLayer):
    """`D`: dropout after a layer without dropout of its own."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in sorted(KEYS)]})
    label = "dropout"
    needs_maps = False
    type: Literal["D"]

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.model_fields_set.isdisjoint(KEYS):
            raise ValueError("drop_out: missing. Give it a value, or 'dropout'")
        return self

    def describe(self) -> str:
        return self.dropout_text()

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        return self.drop(network, value)

    def build(self, shape: Shape, classes: int) -> Modules:
        return self.dropout_modules()
