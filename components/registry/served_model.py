"""The model as MLflow serves it (models-from-code): this file travels at the root of a package, with its code beside it.

It runs inside the package, never as part of Genmill: MLflow puts the package's code folder first on the path.
"""

import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedModel(PythonModel):
    """Rows of the wire format in and out, as data frames; a bad request is one sentence and HTTP 400."""

    def load_context(self, context: PythonModelContext) -> None:
        # Serving reads the stored package in place: compiled files do not belong there.
        sys.dont_write_bytecode = True
        from components.registry.runtime import Runtime

        self.runtime = Runtime.open(Path(context.artifacts["spec"]).parent)

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        from components.errors import UserError
        from components.registry.wire import BadRequestError, request_columns

        try:
            # MLflow drops the columns that the signature does not name, so a misspelt one ends up here.
            if model_input.columns.empty:
                names = ", ".join(column.name for column in request_columns(self.runtime.spec.abilities))
                raise BadRequestError(f"The request names none of the columns {names}: give at least one of them.")
            rows = [{str(name): value for name, value in row.items()} for row in model_input.to_dict("records")]
            return pd.DataFrame(self.runtime.predict(rows, params))
        except UserError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None


mlflow.models.set_model(ServedModel())
