"""A model for MLServer: the sum of each row of its one input, or of its columns."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Sums(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        if len(payload.inputs) > 1:
            frame = PandasCodec.decode_request(payload)
            total = frame.select_dtypes("number").sum(axis=1).to_numpy(dtype=np.float64)
        else:
            total = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float64).sum(axis=1)
        labels = ["yes" if value > 0 else "no" for value in total]
        outputs = [NumpyCodec.encode_output("score", total.reshape(-1, 1)), StringCodec.encode_output("label", labels)]
        return InferenceResponse(model_name=self.name, model_version="v1", id=payload.id, outputs=outputs)

    async def predict_stream(self, payloads):
        async for payload in payloads:
            yield await self.predict(payload)
