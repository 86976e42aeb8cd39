%%% @doc The border to the Rust library: one stub per native function, and nothing else.
%%%
%%% This module is tiny and frozen on purpose. OTP cannot load a changed NIF module over a running
%%% one, so after a release switch an old library may serve new code: `check/0' finds that out by
%%% the ABI number and asks for a restart of the VM. Errors are `{error, {Kind, Details}}'.
-module(bc_gitops_native).

-export([check/0, check/1, abi/0]).
%% jobs answer by message
-export([job_cancel/1, job_abandoned/0]).
%% downloads and archives
-export([download_start/3, unpack_start/3]).
%% git
-export([git_start/3, git_head/1, git_log/2, git_checkout/2]).
%% Hex packages: jobs as well
-export([hex_start/3]).
%% content by its digest: jobs as well
-export([mesh_mcid/1, mesh_start/3]).
%% specs
-export([snapshot_open/4, snapshot_summary/1, snapshot_names/1, snapshot_spec/2, snapshot_specs/1,
         spec_dir/2, spec_file/2, spec_map/2, spec_fingerprint/1,
         url_without_login/1]).
%% plan
-export([plan/3]).
%% BEAM files, digests, identicons
-export([beam_md5/1, beam_scan/1, digest_file/2, digest_bytes/2, identicon/2, identicon_uri/2]).
%% code that changes while it runs
-export([beam_info/1, build_compare/2, hot_plan/2, hot_steps/2, appup_read/2]).
%% the files of builds
-export([store_seal/1, store_check/2, store_stamp/1, disk_space/1]).

-export_type([job/0, snapshot/0, beam_info/0, comparison/0, hot_step/0, hot_reason/0, hot_notes/0]).

-on_load(load/0).

-define(ABI, 2).

-opaque job() :: reference().
-opaque snapshot() :: reference().

%% Names of modules, files and keys are binaries: who makes atoms of them counts them. Lists are sorted.
-type beam_info() :: #{
    module := binary(),
    md5 := binary(),
    behaviours := [binary()],
    exports := [{binary(), arity()}],
    imports := [binary()],            % modules
    nif := boolean(),                 % it calls erlang:load_nif/2
    stripped := boolean(),            % its attributes are not there: no behaviours, no vsn
    vsn := binary() | undefined       % the attribute's value in external term format
}.
-type comparison() :: #{
    app := #{name := binary(), old_version := binary() | undefined, new_version := binary() | undefined,
             changed := [binary()]},  % keys of the .app file
    added := [binary()], removed := [binary()], changed := [binary()],
    attributes_only := [binary()],    % the same code in another file
    nif := [binary()],                % of those added, removed or changed
    modules := #{binary() => #{old => beam_info(), new => beam_info()}},   % the same
    priv := #{added := [binary()], removed := [binary()], changed := [binary()]},
    consolidated := same | changed,
    appup := none | found
}.
-type hot_step() ::
    {add_module | load_module | delete_module, binary()}
    | {update, binary(), supervisor | {advanced, []}}.
-type hot_reason() :: #{kind := atom(), app := binary(), message := binary(), module => binary(), path => binary()}.
-type hot_notes() :: #{from := computed | appup, builds := [comparison()]}.

load() ->
    erlang:load_nif(filename:join(priv_dir(), "bc_gitops_nif"), 0).

%% `code:priv_dir/1' needs the application's directory on the code path under its own name; beside
%% the beam file is right as well when a build tool calls us from elsewhere.
priv_dir() ->
    case code:priv_dir(bc_gitops) of
        {error, bad_name} ->
            filename:join(filename:dirname(filename:dirname(code:which(?MODULE))), "priv");
        Dir ->
            Dir
    end.

%% @doc `ok', or what to do when the loaded library is not the one this code was built with.
-spec check() -> ok | {error, {native_abi, #{loaded := pos_integer(), expected := pos_integer()}}}.
check() ->
    check(abi()).

%% @doc The same for a library with this number.
-spec check(pos_integer()) -> ok | {error, {native_abi, #{loaded := pos_integer(), expected := pos_integer()}}}.
check(?ABI) -> ok;
check(Loaded) -> {error, {native_abi, #{loaded => Loaded, expected => ?ABI}}}.

-spec abi() -> pos_integer().
abi() -> stub().

-spec job_cancel(job()) -> ok.
job_cancel(_Job) -> stub().

%% How many threads hang in a call past the end of their job.
-spec job_abandoned() -> non_neg_integer().
job_abandoned() -> stub().

%% A job; `#{url, path, timeout, auth, max_bytes, sha256}' (the last two may be missing; 32 bytes).
%% Answers `#{bytes, sha256, resumed}', tells `#{received_bytes, total_bytes}'.
-spec download_start(Request :: map(), ReplyTo :: pid(), Ref :: reference()) ->
    {ok, job()} | {error, term()}.
download_start(_Request, _ReplyTo, _Ref) -> stub().

%% A job; `#{archive, path, timeout, limits}', where path is not there yet and limits may hold
%% `#{entries, file_bytes, bytes, ratio}'. Answers and tells `#{entries, bytes}'.
-spec unpack_start(Request :: map(), ReplyTo :: pid(), Ref :: reference()) ->
    {ok, job()} | {error, term()}.
unpack_start(_Request, _ReplyTo, _Ref) -> stub().

%% A job of any kind: `{bc_gitops_job, Ref, {ok, Map} | {error, {Kind, Details}}}' comes once, and
%% `{bc_gitops_job_progress, Ref, Map}' any number of times before. It ends with ReplyTo.
-spec git_start(Request :: map(), ReplyTo :: pid(), Ref :: reference()) -> {ok, job()} | {error, term()}.
git_start(_Request, _ReplyTo, _Ref) -> stub().

-spec git_head(Path :: binary()) -> {ok, binary()} | {error, term()}.
git_head(_Path) -> stub().

-spec git_log(Path :: binary(), Count :: pos_integer()) -> {ok, [map()]} | {error, term()}.
git_log(_Path, _Count) -> stub().

-spec git_checkout(Path :: binary(), Ref :: binary()) -> ok | {error, term()}.
git_checkout(_Path, _Ref) -> stub().

%% A job over Hex repositories. Requests have `op, timeout, cache, repos' and may have `ca_file' and
%% `allow_http'. A repo is `#{name, url, public_key, auth_key_file | auth_key_env}'.
%% `#{op => resolve, name, version, repo, lock}' (the last two may be missing) answers
%% `#{lock => [Locked], retired => [#{name, version, reason, message}]}'; Locked is `#{name, app,
%% version, repo, sha256, requirements}', to be handed back as it is.
%% `#{op => fetch, packages => [Locked], dir, max_bytes}' answers `#{packages => [#{name, app,
%% version, repo, sha256, inner_sha256, path, cached, build_tools, elixir, requirements}]}' and tells
%% `#{package, received_bytes, total_bytes}'. What is unknown is `undefined'; texts are binaries.
-spec hex_start(Request :: map(), ReplyTo :: pid(), Ref :: reference()) ->
    {ok, job()} | {error, term()}.
hex_start(_Request, _ReplyTo, _Ref) -> stub().

-spec mesh_mcid(Text :: binary()) ->
    {ok, #{kind := raw | manifest, digest := binary(), mcid := binary()}} | {error, term()}.
mesh_mcid(_Text) -> stub().

-spec mesh_start(Request :: map(), ReplyTo :: pid(), Ref :: reference()) -> {ok, job()} | {error, term()}.
mesh_start(_Request, _ReplyTo, _Ref) -> stub().

-spec snapshot_open(Path :: binary(), Commit :: binary(),
                    Options :: #{apps_dir := binary(), atom_room := non_neg_integer()},
                    Previous :: snapshot() | undefined) -> {ok, snapshot()} | {error, term()}.
snapshot_open(_Path, _Commit, _Options, _Previous) -> stub().

-spec snapshot_summary(snapshot()) -> map().
snapshot_summary(_Snapshot) -> stub().

-spec snapshot_names(snapshot()) -> [atom()].
snapshot_names(_Snapshot) -> stub().

-spec snapshot_spec(snapshot(), atom()) -> {ok, tuple(), Meta :: map()} | {error, not_found}.
snapshot_spec(_Snapshot, _Name) -> stub().

-spec snapshot_specs(snapshot()) -> #{atom() => tuple()}.
snapshot_specs(_Snapshot) -> stub().

-spec spec_dir(Path :: binary(), AtomRoom :: non_neg_integer()) -> {ok, #{atom() => tuple()}} | {error, term()}.
spec_dir(_Path, _AtomRoom) -> stub().

-spec spec_file(Path :: binary(), AtomRoom :: non_neg_integer()) -> {ok, tuple()} | {error, term()}.
spec_file(_Path, _AtomRoom) -> stub().

-spec spec_map(map(), AtomRoom :: non_neg_integer()) -> {ok, tuple()} | {error, term()}.
spec_map(_Map, _AtomRoom) -> stub().

-spec spec_fingerprint(Spec :: tuple()) -> {Source :: binary(), Env :: binary()}.
spec_fingerprint(_Spec) -> stub().

%% A url as it may be kept and shown. A login in it stays in native memory, for those who ask for that url.
-spec url_without_login(Url :: binary()) -> binary().
url_without_login(_Url) -> stub().

-spec plan(snapshot() | [tuple()], Current :: [tuple()], Options :: map()) -> {ok, map()} | {error, term()}.
plan(_Desired, _Current, _Options) -> stub().

-spec beam_md5(Path :: binary()) -> {ok, binary()} | {error, term()}.
beam_md5(_Path) -> stub().

-spec beam_scan(EbinDirsOrFiles :: [binary()]) -> {ok, [{Module :: binary(), Path :: binary(), MD5 :: binary()}]} | {error, term()}.
beam_scan(_EbinDirsOrFiles) -> stub().

%% What a file says of its module, which is not loaded.
-spec beam_info(Path :: binary()) -> {ok, beam_info()} | {error, term()}.
beam_info(_Path) -> stub().

%% Two builds of an application, each a directory `lib/APP'.
-spec build_compare(OldDir :: binary(), NewDir :: binary()) -> {ok, comparison()} | {error, term()}.
build_compare(_OldDir, _NewDir) -> stub().

%% How to get from old to new builds: of the application, then of what changes along with it. The
%% instructions are those of an appup for exactly these versions of the application; the steps are
%% computed all the same.
-spec hot_plan([{OldDir :: binary(), NewDir :: binary()}],
               Options :: #{strategy := auto | hot | restart, toolchain_same := boolean(),
                           appup := none | [Instruction :: tuple() | atom()]}) ->
    {ok, {hot, [hot_step()], hot_notes()} | {restart, [hot_reason()], hot_notes()}} | {error, term()}.
hot_plan(_Builds, _Options) -> stub().

%% The steps where the former code is not at hand: the code that comes, whole files and whether each
%% replaces code that is loaded, and the modules that go.
-spec hot_steps([{Path :: binary(), Code :: binary(), Replaces :: boolean()}], Gone :: [binary()]) ->
    {ok, [hot_step()]} | {error, term()}.
hot_steps(_Coming, _Gone) -> stub().

%% An appup, each instruction of it checked. Which entry fits a version is told by its caller: by
%% equal strings, and by expressions that match the whole.
-spec appup_read(Path :: binary(), AtomRoom :: non_neg_integer()) ->
    {ok, #{version := binary(), up := [Entry], down := [Entry]}} | {error, term()}
    when Entry :: {binary() | {regex, binary()}, [Instruction :: tuple() | atom()]}.
appup_read(_Path, _AtomRoom) -> stub().

-spec digest_file(sha256 | blake3, Path :: binary()) -> {ok, binary()} | {error, term()}.
digest_file(_Algorithm, _Path) -> stub().

-spec digest_bytes(sha256 | blake3, iodata()) -> binary().
digest_bytes(_Algorithm, _Bytes) -> stub().

-spec identicon(Input :: binary(), Size :: pos_integer()) -> binary().
identicon(_Input, _Size) -> stub().

-spec identicon_uri(Input :: binary(), Size :: pos_integer()) -> binary().
identicon_uri(_Input, _Size) -> stub().

-spec store_seal(Dir :: binary()) ->
    {ok, #{files := binary(), count := non_neg_integer(), bytes := non_neg_integer()}} | {error, term()}.
store_seal(_Dir) -> stub().

-spec store_check(Dir :: binary(), Files :: binary()) -> {ok, Stamp :: binary()} | {error, term()}.
store_check(_Dir, _Files) -> stub().

-spec store_stamp(Dir :: binary()) -> {ok, Stamp :: binary()} | {error, term()}.
store_stamp(_Dir) -> stub().

-spec disk_space(Path :: binary()) ->
    {ok, #{free := non_neg_integer(), total := non_neg_integer(), free_files := non_neg_integer(),
           total_files := non_neg_integer()}} | {error, term()}.
disk_space(_Path) -> stub().

%% Dialyzer takes a NIF stub to return anything; no_return() here would silence it in every caller.
-spec stub() -> any().
stub() ->
    erlang:nif_error(nif_not_loaded).
