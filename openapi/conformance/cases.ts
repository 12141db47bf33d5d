// The cases of the conformance suite as data: id, what it shows, and for each SDK version that cannot run it the reason.
// Ids are those of the protocol notes' table; `C37-nan` is a part of C37. The code
// of a case is the Python function registered under its id in sdk/cases. matrix.md is made from this table.

/** Newest first. */
export const VERSIONS = [
  '0.38.0',
  '0.36.0',
  '0.30.4',
  '0.25.0',
  '0.24.1',
  '0.20.0',
  '0.18.2',
  '0.16.1',
  '0.13.1',
  '0.7.0',
  '0.3.0',
] as const
export type SdkVersion = (typeof VERSIONS)[number]
/** Those that `npm test` runs: the newest, the oldest, and one that speaks JSON and protobuf. `npm run compat` runs all. */
export const TESTED: readonly SdkVersion[] = ['0.38.0', '0.24.1', '0.3.0']

type Holes = Readonly<Partial<Record<SdkVersion, string>>>

export interface Case {
  readonly id: string
  readonly says: string
  /** Why an SDK cannot run it. */
  readonly holes?: Holes
  /** Runs in the job that has PyTorch. */
  readonly torch?: true
}

/** Not in SDKs before `version`, for the reason that is given. */
const before = (version: string, reason: string): Holes => holes(reason, (each) => isOlder(each, version))
/** Not in SDKs from `version` on. */
const from = (version: string, reason: string): Holes => holes(reason, (each) => !isOlder(each, version))
/** A part of the SDK that came with `version`. */
const since = (version: string, what: string): Holes => before(version, `${what} came with ${version}`)

function holes(reason: string, isMissing: (version: SdkVersion) => boolean): Holes {
  return Object.fromEntries(VERSIONS.filter(isMissing).map((version) => [version, reason]))
}

export function isOlder(version: string, than: string): boolean {
  return version.localeCompare(than, 'en', { numeric: true }) < 0
}

const NEWEST_COMMANDS = before('0.38', 'the table of verbs is that of the newest command line')

export const CASES: readonly Case[] = [
  {
    id: 'C01',
    says: 'ServiceClient() alone sends nothing',
    holes: before('0.22', 'older SDKs open their session in the constructor'),
  },
  { id: 'C02', says: 'get_server_capabilities lists the models' },
  { id: 'C03', says: 'a base URL with a path prefix is kept' },
  { id: 'C04', says: 'a key of another product is refused locally', holes: since('0.8', 'looking at keys') },
  { id: 'C05', says: 'an unknown key is a 401 at the first call' },
  { id: 'C06', says: 'create_sampling_client opens a session with tags, metadata and version' },
  {
    id: 'C07',
    says: 'tags, project, user metadata and display name reach the server and are taken',
    holes: since('0.15', 'project_id'),
  },
  { id: 'C08', says: "the server's warning of a session is logged" },
  {
    id: 'C09',
    says: 'client/dynamic_config may be absent',
    holes: since('0.25', 'client/dynamic_config'),
  },
  {
    id: 'C10',
    says: 'the key is exchanged for a token, and whoami names the owner of its runs',
    holes: since('0.24', 'whoami'),
  },
  { id: 'C12', says: 'heartbeats every ten seconds keep a session' },
  { id: 'C14', says: 'create_lora_training_client numbers models SESSION:train:N' },
  { id: 'C15', says: 'an unknown base model is refused with the list of what is served' },
  { id: 'C16', says: 'rank 0 is refused' },
  { id: 'C17', says: 'get_info gives model, tokenizer, rank and optimiser' },
  { id: 'C18', says: 'get_tokenizer loads tokenizer and chat template from the server' },
  { id: 'C19', says: 'cross entropy: logprobs [N], loss:sum = -sum(lp * w)' },
  { id: 'C20', says: 'gradients accumulate until optim_step' },
  { id: 'C21', says: 'forward gives the same numbers and leaves no gradient' },
  { id: 'C22', says: '2500 datums in three requests, the first posted last, outputs in order' },
  {
    id: 'C23',
    says: 'parallel_fwdbwd_chunks=false posts in order',
    holes: since('0.25', 'a chunk length set by the server'),
  },
  {
    id: 'C24',
    says: 'fwdbwd_max_chunk_len=2 cuts five datums in 2 + 2 + 1',
    holes: since('0.25', 'a chunk length set by the server'),
  },
  {
    id: 'C25',
    says: 'zstd bodies give the same result',
    holes: since('0.22', 'proto_compress_fwdbwd'),
  },
  { id: 'C28', says: 'forward_backward and optim_step queued without awaiting run in order' },
  { id: 'C29', says: 'optim_step with default AdamParams changes the weights' },
  { id: 'C30', says: 'learning rate 0 changes nothing' },
  { id: 'C31', says: 'weight decay and clipping act as AdamW says', holes: since('0.7', 'weight decay') },
  {
    id: 'C31-reference',
    says: 'three saved steps equal AdamW written out in numpy, decay and clipping included',
    holes: since('0.7', 'weight decay'),
  },
  { id: 'C32', says: 'importance_sampling: value, and the gradient -A * dlp on policy' },
  { id: 'C33', says: 'ppo clips at 0.8 and 1.2: value, and no gradient beyond' },
  { id: 'C34', says: 'ppo with thresholds 0.9 and 1.1' },
  { id: 'C35', says: 'cispo with its defaults 0 and 4, and with 0.8 and 1.2', holes: since('0.6', 'cispo') },
  { id: 'C36', says: 'dro with beta; without it the request is refused by name', holes: since('0.6', 'dro') },
  {
    id: 'C36-gspo',
    says: 'gspo: value, metrics and step go by the ratio of the sequence',
    holes: since('0.34', 'gspo'),
  },
  {
    id: 'C37',
    says: 'an unknown loss is refused with the list of losses',
    holes: before('0.19', 'older SDKs refuse unknown losses themselves, and the number they took is never sent'),
  },
  { id: 'C37-missing', says: 'a missing tensor is refused by name' },
  {
    id: 'C37-nan',
    says: 'NaN and infinity in a tensor are refused by name',
    holes: before('0.19', 'JSON cannot carry them: refused locally'),
  },
  { id: 'C37-shape', says: 'a wrong shape is refused with both shapes' },
  { id: 'C37-vocabulary', says: 'token ids outside the vocabulary are refused' },
  { id: 'C37-learning-rate', says: 'a step that would leave no numbers is refused; adapter and neighbours stay' },
  { id: 'C38', says: 'cross_entropy takes no configuration and says so' },
  { id: 'C39', says: '(N, K) targets: logprobs [N, K], each column as it is alone' },
  { id: 'C39-csr', says: '(N, K) targets as CSR equal the dense ones', holes: since('0.18', 'CSR tensors') },
  {
    id: 'C39-torch',
    says: 'CSR targets that the SDK makes from torch tensors',
    holes: since('0.18', 'CSR tensors'),
    torch: true,
  },
  { id: 'C40', says: 'forward_backward_custom: loss, surrogate, metrics and step', torch: true },
  { id: 'C40-async', says: 'forward_backward_custom_async gives the same numbers', torch: true },
  {
    id: 'C40-traced',
    says: 'a traced custom loss runs in the client',
    holes: since('0.36', 'create_custom_loss'),
    torch: true,
  },
  { id: 'C40-fd', says: 'forward_backward_custom: the loss falls as a finite difference says', torch: true },
  { id: 'C41', says: 'no data: nothing is sent' },
  { id: 'C42', says: 'an image chunk for a text model is refused by its type' },
  { id: 'C43', says: 'a prompt or datum beyond the context is refused with the numbers' },
  { id: 'C44', says: 'save_state answers tinker://RUN/weights/NAME' },
  { id: 'C44-listed', says: 'saved checkpoints are listed with type, size, time and metadata; ephemeral ones are not' },
  { id: 'C44-other-session', says: 'a checkpoint outlives its session' },
  { id: 'C45', says: 'the same name again is refused at once; the same name of another kind is not' },
  {
    id: 'C45-overwrite',
    says: 'overwrite=True replaces the checkpoint',
    holes: since('0.20', 'overwrite'),
  },
  {
    id: 'C46',
    says: 'ttl_seconds sets expires_at; a ttl out of bounds is refused',
    holes: since('0.9', 'ttl_seconds'),
  },
  { id: 'C47', says: 'names that are paths are refused' },
  { id: 'C48', says: 'a sampler of saved weights samples the trained model' },
  { id: 'C49', says: 'two samplers with training between: the old one stays as it was' },
  {
    id: 'C49-inflight',
    says: 'samplers in flight go on to newer weights, snapshots stay',
    holes: since('0.38', 'samplers in flight'),
  },
  { id: 'C50', says: 'load_state and a client from state: same weights, new optimiser' },
  {
    id: 'C51',
    says: 'resumed with optimiser state, the next step is that of the uninterrupted run',
    holes: since('0.5', 'resuming with the optimiser'),
  },
  { id: 'C52', says: 'resume on the wire: one load_weights (before 0.24: weights_info, create_model, load_weights)' },
  { id: 'C52-unknown', says: 'a checkpoint that was never saved is refused by its path' },
  {
    id: 'C53',
    says: "another tenant's weights access token opens its one checkpoint",
    holes: { ...since('0.18', 'weights_access_token'), '0.18.2': 'this SDK fails before it sends its token' },
  },
  { id: 'C54', says: 'greedy sampling twice: same tokens, same logprobs' },
  { id: 'C55', says: 'a seed gives the same four samples, with sequence ids of their own' },
  { id: 'C56', says: 'seed 2^63-1 is taken exactly' },
  { id: 'C57', says: 'stops: ids, text, lists, none; the stop is part of the answer' },
  { id: 'C58', says: 'max_tokens: exact count, stop_reason length' },
  { id: 'C59', says: "sampled logprobs equal forward's within 1e-3" },
  { id: 'C60', says: 'compute_logprobs: one for each token, the first None' },
  {
    id: 'C60-last-n',
    says: 'prompt_logprobs_last_n scores the end of a prompt only',
    holes: since('0.33', 'prompt_logprobs_last_n'),
  },
  { id: 'C61', says: 'topk_prompt_logprobs: sorted rows, the first None' },
  { id: 'C62', says: 'top_k=1 and a small top_p are greedy' },
  { id: 'C63-short', says: '200 samples at once all finish; company changes no greedy sample' },
  {
    id: 'C64-copy',
    says: 'pickled copies of a sampling client count beyond 2^53 and stay apart',
    holes: before('0.13', 'older sampling clients cannot be pickled'),
  },
  { id: 'C65-handle', says: 'a sampler handle makes a working copy', holes: since('0.32', 'sampler handles') },
  { id: 'C66', says: 'a request sent again gets the same request_id and sequence ids' },
  { id: 'C69', says: 'an unknown request_id is an error at once' },
  { id: 'C70', says: "another tenant's checkpoints, samplers and requests are not there" },
  {
    id: 'C73',
    says: 'a large result is announced with its size, then fetched, each once',
    holes: before('0.25', 'older SDKs cut their requests too small for one'),
  },
  { id: 'C74', says: 'list_training_runs in pages, newest first' },
  { id: 'C75', says: 'get_training_run_by_tinker_path and get_weights_info_by_tinker_path' },
  { id: 'C76', says: 'list_user_checkpoints in pages, newest first', holes: since('0.5', 'list_user_checkpoints') },
  { id: 'C77', says: 'publish, foreign read, unpublish; saying it twice is quick', holes: since('0.5', 'publishing') },
  {
    id: 'C78',
    says: 'set and remove the ttl of a checkpoint',
    holes: since('0.13', 'set_checkpoint_ttl_from_tinker_path'),
  },
  { id: 'C79', says: 'a deleted checkpoint is gone, and its name is free' },
  {
    id: 'C85-cli',
    says: "the SDK's command line: run list, checkpoint info, list, publish, set-ttl, delete",
    holes: since('0.13', '`checkpoint set-ttl`'),
  },
  { id: 'C85-verbs', says: "every verb of the SDK's command line has a case below", holes: NEWEST_COMMANDS },
  { id: 'C85-version', says: '`tinker version`, `model list`', holes: NEWEST_COMMANDS },
  { id: 'C85-run', says: '`tinker run list` and `info`', holes: NEWEST_COMMANDS },
  {
    id: 'C85-checkpoint',
    says: '`tinker checkpoint list`, `info`, `publish`, `unpublish` and `set-ttl`',
    holes: NEWEST_COMMANDS,
  },
  {
    id: 'C85-delete',
    says: '`tinker checkpoint delete`: some, and all of a run between two days',
    holes: NEWEST_COMMANDS,
  },
  { id: 'C85-download', says: '`tinker checkpoint download` of training and external weights', holes: NEWEST_COMMANDS },
  { id: 'C85-push-hf', says: '`tinker checkpoint push-hf` to a local hub', holes: NEWEST_COMMANDS },
  {
    id: 'C85-session',
    says: '`tinker session export-trace`: the trace holds what the session did',
    holes: NEWEST_COMMANDS,
  },
  {
    id: 'C85-billing',
    says: '`tinker billing usage` and `checkpoint-storage`, CSV files included',
    holes: NEWEST_COMMANDS,
  },
  { id: 'C85-auth', says: '`tinker auth login`, `status` and `logout`', holes: NEWEST_COMMANDS },
  { id: 'C85-whoami', says: '`tinker auth whoami`', holes: NEWEST_COMMANDS },
  {
    id: 'C80',
    says: 'save_weights_external: a PEFT adapter behind signed addresses',
    holes: since('0.28', 'external weights'),
  },
  {
    id: 'C80-download',
    says: "the SDK's command line downloads a checkpoint",
    holes: since('0.28', 'external weights'),
  },
  {
    id: 'C81',
    says: 'archive of a checkpoint behind a signed address',
    holes: from('0.36', 'archives went with 0.36; external weights took their place'),
  },
  { id: 'C82', says: 'get_session, list_sessions, get_sampler', holes: since('0.6', 'get_session and get_sampler') },
  {
    id: 'C83-project',
    says: 'assign_session_project, and runs by project',
    holes: since('0.22', 'assign_session_project'),
  },
  { id: 'C86', says: 'a telemetry endpoint that fails harms nobody' },
  { id: 'C87', says: "a session goes on after a user's error" },
  { id: 'C90', says: 'two tenants interleaved on one base model: each as when alone' },
  {
    id: 'C91',
    says: 'close and `with` finish the session; it takes no more work',
    holes: since('0.27', 'ServiceClient.close'),
  },
  {
    id: 'C92',
    says: 'a heartbeat answered 410 ends the heartbeats',
    holes: since('0.26', 'ending heartbeats on 410'),
  },
  {
    id: 'C84',
    says: 'audit log, billing usage and checkpoint storage answer with what was done',
    holes: since('0.23', 'billing'),
  },
  {
    id: 'C94',
    says: 'provenance spans of a sampled answer are taken and change nothing',
    holes: since('0.26', 'provenance spans'),
  },
  {
    id: 'C93',
    says: 'topk_sample_logprobs; target_prompt_logprobs dense and sparse; prompt_alt_tokens_k: each as compute_logprobs says',
    holes: since('0.31', 'the last of them'),
  },
  {
    id: 'C93-last-n',
    says: 'prompt_logprobs_last_n limits the best tokens of a prompt too',
    holes: since('0.33', 'prompt_logprobs_last_n'),
  },
  {
    id: 'C93-cache',
    says: 'prompt_cache_hit_tokens: what was computed before, for the same key and weights alone, and billed as cached',
    holes: since('0.26', 'billing usage in this form'),
  },
  {
    id: 'C95',
    says: 'samples are polled for together, and copies of a client join the sampling session',
    holes: since('0.32', 'joining a sampling session'),
  },
  {
    id: 'C96',
    says: 'a sample that nobody waits for any more is cancelled on the server',
    holes: since('0.26', 'cancelling samples'),
  },
  {
    id: 'C97',
    says: 'what is not public is refused by name: dimuon, optimisers nobody knows, stable_reinforce',
    holes: since('0.35', 'the last of them'),
  },
  {
    id: 'C98',
    says: 'a copy of a checkpoint stands by itself in another project',
    holes: since('0.34', 'RestClient.copy_weights'),
  },
  { id: 'C99', says: 'a custom loss that fails fails in the client; the next client works', torch: true },
  { id: 'M1-plain', says: "every method of the SDK's clients, in its plain form" },
  { id: 'M1-async', says: "every method of the SDK's clients, in its asynchronous form" },
  { id: 'S1-sft', says: 'whole script: supervised fine-tuning; loss falls, greedy answers become the taught ones' },
  {
    id: 'S2-resume',
    says: 'whole script: save and resume with optimiser state, equal to the uninterrupted run',
    holes: since('0.7', 'weight decay'),
  },
  { id: 'S3-rl', says: 'whole script: reinforcement learning; the reward rises' },
]

/** Rows of the protocol's table that no case here runs, each with the place that holds it or the reason why not yet. */
export const ELSEWHERE: Readonly<Record<string, string>> = {
  C11: 'tokens are held by src/server tests; a background refresh of five minutes is not waited for',
  C13: 'lifecycle.test.ts',
  C26: 'bad-input.test.ts',
  C27: 'bad-input.test.ts',
  C63: 'C63-short runs 200 at once; 1000 at once and a flat event loop are `npm run bench -- service`',
  C67: 'lifecycle.test.ts',
  C68: 'lifecycle.test.ts',
  C71: 'held by src/server tests with an engine that fails',
  C72: 'queue-state.test.ts: on a server of its own, whose tenants have a limit',
  C88: 'S1-sft and S3-rl',
  C89: 'the columns of this matrix',
}

/** The cases that this SDK runs, in the order of the table. */
export function casesOf(version: SdkVersion, { torch = false } = {}): readonly Case[] {
  return CASES.filter((c) => (c.torch ?? false) === torch && c.holes?.[version] === undefined)
}
