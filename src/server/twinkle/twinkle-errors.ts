// Errors that only Twinkle's protocol has: adapters by name, peft's configurations, rows. Part of the catalogue (errors.ts).

import { user } from '../error-kinds.ts'

export const TWINKLE_ERRORS = {
  UNKNOWN_ADAPTER: user(
    404,
    'There is no adapter {name} of this owner.',
    '{names~name} add_adapter_to_model makes one.',
  ),
  INVALID_ADAPTER_NAME: user(
    400,
    'The adapter name {name} is not possible.',
    'Use 1 to 64 letters, digits, "_", "." and "-".',
  ),
  ADAPTER_OF_OTHER_MODEL: user(400, 'The adapter {name} is one of {model}.', 'Send its calls to that base model.'),
  INVALID_LORA_CONFIG: user(
    400,
    'The LoRA configuration cannot be read: {problem}.',
    'Send the fields of a peft LoraConfig as an object, or as text that holds one.',
  ),
  UNSUPPORTED_LORA_FIELD: user(
    400,
    'An adapter here cannot have {field} = {value}.',
    'Leave it out, or send {wanted}.',
  ),
  UNSUPPORTED_LORA_TARGETS: user(
    400,
    'An adapter here cannot have target_modules = {targets}.',
    'Send "all-linear", or a list of whole groups of these: {groups}.',
  ),
  UNFIT_ROW: user(
    400,
    'Row {index} cannot be computed: it {problem}.',
    'See InputFeature in docs/reference/twinkle.md.',
  ),
  UNSUPPORTED_KEYWORD: user(400, 'Nothing is computed here with {name} = {value}.', 'Leave it out, or send {wanted}.'),
  UNFIT_TASK: user(
    400,
    'The loss {loss} does not go with task = {given}.',
    'Send task = {wanted}, or set another loss.',
  ),
  NO_OPTIMIZER: user(400, 'The adapter has no optimizer.', 'Call set_optimizer first.'),
  NO_BATCH: user(400, 'There is no batch to go back through.', 'Call forward first; each forward has one backward.'),
  STATE_DICT_TOO_LARGE: user(
    400,
    'The adapter has {numbers} numbers; as JSON at most {most} are sent.',
    'Save it, and download the checkpoint.',
  ),
  NOT_SAVED: user(
    400,
    'The adapter {name} has no saved weights to sample from.',
    'Save it first, and give the path as adapter_uri.',
  ),
  UNKNOWN_SAMPLING_FIELD: user(400, 'There is no sampling_params.{field}.', '{fields~field}'),
  UNSERVED_SAMPLING_VALUE: user(
    400,
    'sampling_params.{field} = {value} is not done here.',
    'Leave it out or use {expected}.',
  ),
  INVALID_SAMPLER_INPUT: user(400, 'Input {row} {problem}.', 'Send rows with input_ids (token ids) or with messages.'),
  ONE_INPUT: user(
    400,
    'A stream is of one input and one sequence, not of {given}.',
    'Use sample, or a stream for each.',
  ),
  SAMPLES_TOO_LARGE: user(
    413,
    'The answer would repeat fields of its inputs to more than {limit} bytes.',
    'Send fewer inputs or samples in a request, or rows with fewer fields.',
  ),
  UNKNOWN_PATCH: user(
    400,
    'There is no patch {name}: code never comes over the wire, and this server has no patches.',
    'Leave the call out; what a backend does differently belongs into a backend of its own (docs/guides).',
  ),
  NO_HUB: user(
    400,
    'This server does not upload to {hub}.',
    'Download the checkpoint (`twinkle adapters export PATH`) and upload it from there.',
  ),
  UNKNOWN_UPLOAD: user(404, 'There is no upload {id}.', 'upload_to_hub gives the id of one.'),
  ADMINS_ONLY: user(403, 'Only an admin may see {what}.', "Leave that out, or send an admin's key."),
  INVALID_OWNER: user(
    400,
    'The header {header} is {value}, which cannot be the owner of an adapter.',
    'Send 1 to 128 letters, digits, "_", "." and "-", or leave the header out.',
  ),
} as const
