%%% @doc What a build tool is, and which there are. A new tool is one module with these callbacks
%%% and one line in {@link all/0}.
-module(bc_gitops_build_tool).

-export([all/0, detect/1, module/1, is_prebuilt/1, missing/1, ready/3, failure/3]).

-export_type([tool/0, context/0, step/0]).

-type tool() :: rebar3 | mix | erlang_mk | release.
-type context() :: #{
    app := atom(),
    dir := file:filename(),      % the work tree
    caches := file:filename(),   % of this build alone: what one build wrote no other trusts
    deps => here                 % nothing is to be fetched: what the source needs came with it
}.
%% A failing `deps' step may pass another time (a registry does not answer); a failing `build' step
%% fails each time.
-type step() :: #{phase := deps | build, program := string(), args := [string()],
                  in => file:filename()}.    % where it runs, below the work tree

-callback name() -> tool().
%% Whether the directory is a project of this tool.
-callback detect(Dir :: file:filename()) -> boolean().
%% The programs that must be on PATH, each with the Debian package that has it.
-callback programs() -> [{Program :: string(), Package :: string()}].
%% A command that prints the versions of the tool and of OTP ("OTP 25").
-callback version() -> {Program :: string(), Args :: [string()]}.
-callback environment(context()) -> [{string(), string()}].
-callback steps(context()) -> [step()].
%% The directories with an `ebin' that a build left: the applications and their dependencies.
-callback output(context()) -> [file:filename()].
%% The directories of the project's own applications in the work tree, where it has several.
-callback members(context()) -> [file:filename()].
%% What a build of this kind needs besides the programs.
-callback ready(context(), Environment :: [{string(), file:filename_all()}]) ->
    ok | {error, {atom(), map()}}.
%% What a failing build step means, where its last lines say more than that it failed.
-callback failure(context(), Output :: binary()) -> {Kind :: atom(), Message :: binary()} | unknown.
%% What built a thing that is there already, instead of `version'; an error when it does not fit here.
-callback toolchain(Dir :: file:filename()) ->
    {ok, #{text := binary(), otp := binary()}} | {error, {atom(), map()}}.
-optional_callbacks([ready/2, failure/2, toolchain/1]).

%% @doc In the order in which they are asked.
-spec all() -> [module()].
all() ->
    [bc_gitops_build_rebar3, bc_gitops_build_mix, bc_gitops_build_erlang_mk, bc_gitops_build_release].

%% @doc The tool of a project.
-spec detect(file:filename()) -> {ok, module()} | {error, unknown}.
detect(Dir) ->
    case [Module || Module <- all(), Module:detect(Dir)] of
        [Module | _] -> {ok, Module};
        [] -> {error, unknown}
    end.

%% @doc The module of a tool.
-spec module(tool()) -> module().
module(Tool) ->
    hd([Module || Module <- all(), Module:name() =:= Tool]).

%% @doc Whether a build can begin.
-spec ready(module(), context(), [{string(), file:filename_all()}]) -> ok | {error, {atom(), map()}}.
ready(Module, Context, Environment) ->
    optional(Module, ready, [Context, Environment], ok).

%% @doc What a failing build step means.
-spec failure(module(), context(), binary()) -> {atom(), binary()} | unknown.
failure(Module, Context, Output) ->
    optional(Module, failure, [Context, Output], unknown).

optional(Module, Function, Args, Default) ->
    _ = code:ensure_loaded(Module),
    case erlang:function_exported(Module, Function, length(Args)) of
        true -> apply(Module, Function, Args);
        false -> Default
    end.

%% @doc Whether a tool builds nothing: what it is asked for was built elsewhere.
-spec is_prebuilt(module()) -> boolean().
is_prebuilt(Module) ->
    {module, Module} = code:ensure_loaded(Module),
    erlang:function_exported(Module, toolchain, 1).

%% @doc The first program that a tool needs and the path has not.
-spec missing(module()) -> none | {error, {tool_missing, map()}}.
missing(Module) ->
    Missing = [Needed || {Program, _} = Needed <- Module:programs(),
                         element(1, bc_gitops_command:find(Program)) =:= error],
    case Missing of
        [] -> none;
        [{Program, Package} | _] ->
            {error, {tool_missing, missing(Module:name(), Program, Package)}}
    end.

missing(Tool, Program, Package) ->
    Message = io_lib:format("~s builds need ~s on PATH; on Debian: apt-get install ~s",
                            [Tool, Program, Package]),
    #{tool => Tool, program => list_to_binary(Program), package => list_to_binary(Package),
      message => iolist_to_binary(Message)}.
