%%% @doc What a source type is, and which there are. A new type is one module with these callbacks
%%% and one line in {@link all/0}.
-module(bc_gitops_source).

-include("bc_gitops.hrl").

-export([all/0, resolve/2, fetch/5, access/1, without_login/1, sha256/1, hex/1]).

-export_type([type/0, resolved/0, known/0, fetched/0, lock/0, options/0]).

-type type() :: git | hex | release | mesh.
%% The packages that were chosen for a Hex source, each with the SHA-256 of its archive in hex; those
%% that only build the others have `plugin => true'.
-type lock() :: [#{name := binary(), version := binary(), repo := binary(), sha256 := binary(),
                   atom() => term()}].
-type options() :: #{
    timeout := timeout(),                 % milliseconds
    app => atom(),
    version => binary(),                  % what the spec says
    cache => binary(),                    % a directory for what is fetched, shared by all builds
    commit => binary(),                   % what a git ref means, as somebody found out already
    allow_local => boolean(),             % sources on the local disk, instead of what is configured
    lock => lock(),                       % what was chosen before for the same spec
    prefer => lock(),                     % and for another version of it
    content => binary(),                  % where content of the mesh is kept between builds
    unfinished => binary(),               % where the beginnings of downloads are left
    mirrors => binary(),                  % where those of git repositories are kept between builds
    on_progress => fun((map()) -> any()),
    atom() => term()
}.
%% `revision' names the content for good: the same revision is the same content everywhere. What
%% else is in here is for the module that made it.
-type resolved() :: #{revision := binary(), lock => lock(), atom() => term()}.
-type known() :: {ok, resolved()} | unknown.
-type fetched() :: #{
    revision := binary(),
    tool => atom(),                       % the build tool, where the source says it
    deps => here,                         % it came with all that it needs
    lock => lock(),
    dir => binary(),                      % where the project begins, if not at Dir
    notes => [binary()],                  % for who reads the build's log
    verified => digest | macula_content,  % who vouches for content of the mesh
    atom() => term()
}.
-type failure() :: {error, {Kind :: atom(), Details :: map()}}.

-callback type() -> type().
%% What a source means now; `unknown' is what only fetching can tell.
-callback resolve(#source_spec{}, options()) -> known() | failure().
%% Puts the content at Dir, which is not there yet.
-callback fetch(App :: atom(), #source_spec{}, known(), Dir :: binary(), options()) ->
    {ok, fetched()} | failure().

%% @doc The modules of the source types.
-spec all() -> [module()].
all() ->
    [bc_gitops_source_git, bc_gitops_source_hex, bc_gitops_source_release, bc_gitops_source_mesh].

%% @doc What a source means now.
-spec resolve(#source_spec{}, options()) -> known() | failure().
resolve(#source_spec{type = Type} = Source, Options) ->
    with(Type, fun(Module) -> Module:resolve(Source, Options) end).

%% @doc Puts the content of a source at Dir, which is not there yet.
-spec fetch(atom(), #source_spec{}, known(), Dir :: binary(), options()) ->
    {ok, fetched()} | failure().
fetch(App, #source_spec{type = Type} = Source, Known, Dir, Options) ->
    with(Type, fun(Module) -> Module:fetch(App, Source, Known, Dir, Options) end).

with(Type, Fun) ->
    case [Module || Module <- all(), Module:type() =:= Type] of
        [Module] -> Fun(Module);
        [] ->
            Message = io_lib:format("sources of type ~s are not supported yet", [Type]),
            {error, {not_supported_yet, #{what => Type, message => iolist_to_binary(Message)}}}
    end.

%% @doc What a native job may use: the time that is left, credentials, and which places code may
%% come from. `allow_local' in the options decides for this one call.
-spec access(options()) -> #{timeout := timeout(), auth := bc_gitops_git:auth()}.
access(#{timeout := Timeout} = Options) ->
    #{git_timeout := Limit} = Config = bc_gitops_config:current(),
    Auth = bc_gitops_git:auth(Config),
    #{timeout => min(Timeout, Limit), auth => maps:merge(Auth, maps:with([allow_local], Options))}.

%% @doc A source that was handed over, as it may be kept and shown: as one that was read from a spec.
-spec without_login(#source_spec{}) -> #source_spec{}.
without_login(#source_spec{url = Url} = Source) when is_binary(Url) ->
    Source#source_spec{url = bc_gitops_native:url_without_login(Url)};
without_login(Source) ->
    Source.

%% @doc A SHA-256 as a spec that was handed over may have it, in hexadecimal digits or in base64; those
%% that were read have been checked.
-spec sha256(binary()) -> {ok, Hex :: binary()} | error.
sha256(Text) when byte_size(Text) =:= 64 ->
    case re:run(Text, "\\A[0-9a-fA-F]{64}\\z", [{capture, none}]) of
        match -> {ok, string:lowercase(Text)};
        nomatch -> error
    end;
sha256(Text) ->
    try base64:decode(padded(Text)) of
        <<_:32/binary>> = Digest -> {ok, hex(Digest)};
        _ -> error
    catch
        error:_ -> error
    end.

padded(<<_:43/binary>> = Text) -> <<Text/binary, "=">>;
padded(Text) -> Text.

%% @doc Bytes in hexadecimal digits, in lower case.
-spec hex(binary()) -> binary().
hex(Bytes) ->
    string:lowercase(binary:encode_hex(Bytes)).
