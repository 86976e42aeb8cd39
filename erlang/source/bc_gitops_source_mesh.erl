%%% @doc Mesh sources: content by its content id. The id is the revision, so nobody is asked to find
%%% out what is meant. An archive is unpacked, a manifest's tree is laid out; what that is, and how
%%% it is built, is for the build tools to see.
-module(bc_gitops_source_mesh).
-behaviour(bc_gitops_source).

-include("bc_gitops.hrl").
-include_lib("kernel/include/file.hrl").

-export([type/0, resolve/2, fetch/5]).

-type failure() :: {error, {Kind :: atom(), Details :: map()}}.

%% Directories that an archive may hold alone because it is a project, not because it is in one.
-define(OF_A_PROJECT, ["lib", "src", "apps", "ebin", "releases"]).
-define(TIMEOUT, 600000).

-spec type() -> mesh.
type() -> mesh.

-spec resolve(#source_spec{}, bc_gitops_source:options()) -> bc_gitops_source:known() | failure().
resolve(#source_spec{mcid = Mcid}, _Options) when is_binary(Mcid) ->
    case bc_gitops_native:mesh_mcid(Mcid) of
        {ok, #{digest := Digest}} -> {ok, #{revision => Digest}};
        {error, _} = Error -> Error
    end;
resolve(_Source, _Options) ->
    {error, {bad_mcid, #{message => <<"a mesh source needs an mcid, the id of its content">>}}}.

%% @doc Puts the content at Dir. `fetch_start' and `fetch_stop' are told; the latter with the store
%% that had it and its bytes.
-spec fetch(atom(), #source_spec{}, bc_gitops_source:known(), Dir :: binary(),
            bc_gitops_source:options()) ->
    {ok, bc_gitops_source:fetched()} | failure().
fetch(App, #source_spec{mcid = Mcid}, {ok, #{revision := Revision}}, Dir, Options) ->
    #{work := Work, cache := Cache} = Context = context(Dir, Options),
    Fetch = fun() -> named(Mcid, laid_out(bc_gitops_content:fetch(Mcid, Context), Dir, Context)) end,
    try ready(Work, fun() ->
        bc_gitops_span:run(mesh_fetch, #{app => App, mcid => Mcid}, Fetch, fun told/1)
    end) of
        {ok, Content} -> {ok, (maps:with([verified, dir], Content))#{revision => Revision}};
        {error, _} = Error -> Error
    after
        _ = file:del_dir_r(Work),
        ok = bc_gitops_content_cache:trim(Cache)
    end.

%% What is wrong with content, or with a piece of it, does not say which content it is.
named(Mcid, {error, {_Kind, #{mcid := Mcid}}} = Error) ->
    Error;
named(Mcid, {error, {Kind, #{message := Message} = Details}}) ->
    Entry = case Details of
        #{entry := Name} -> [": ", Name];
        _ -> ""
    end,
    Text = bc_gitops_words:text("the content ~ts: ~ts~ts", [Mcid, Message, Entry]),
    {error, {Kind, (maps:merge(#{mcid => Mcid}, Details))#{message => Text}}};
named(_Mcid, Result) ->
    Result.

context(Dir, Options) ->
    #{workspace_path := Workspace} = bc_gitops_config:current(),
    #{
        work => <<Dir/binary, ".content">>,
        cache => maps:get(content, Options, filename:join(Workspace, <<"content">>)),
        until => erlang:monotonic_time(millisecond) + timeout(Options),
        on_progress => maps:get(on_progress, Options, fun(_) -> ok end),
        options => Options
    }.

timeout(#{timeout := infinity}) -> ?TIMEOUT;
timeout(#{timeout := Timeout}) -> Timeout.

ready(Work, Fun) ->
    case filelib:ensure_path(Work) of
        ok -> Fun();
        {error, Reason} -> {error, bc_gitops_content_error:unwritable(Work, Reason)}
    end.

told({ok, Told}) -> maps:with([store, bytes, verified], Told);
told({error, _}) -> #{}.

laid_out({error, _} = Error, _Dir, _Context) ->
    Error;
laid_out({ok, #{kind := manifest, exact := true} = Content}, Dir, Context) ->
    manifest(Content, Dir, Context);
laid_out({ok, #{path := Path} = Content}, Dir, Context) ->
    and_then(unpack(Path, Dir, Context), fun(Where) -> {ok, maps:merge(Content, Where)} end).

manifest(#{path := Path, from := From, bytes := Own} = Content, Dir, Context) ->
    and_then(job(#{op => manifest, path => Path}, Context), fun(Listed) ->
        #{pieces := Pieces, bytes := Bytes} = Listed,
        and_then(bc_gitops_content:pieces(Pieces, From, Context), fun() ->
            and_then(tree(Listed, Path, Dir, Context), fun(Where) ->
                {ok, maps:merge(Content#{bytes := Own + Bytes}, maps:with([dir], Where))}
            end)
        end)
    end).

tree(#{kind := files}, Manifest, Dir, Context) ->
    lay_out(Manifest, Dir, Context);
tree(#{kind := archive}, Manifest, Dir, Context) ->
    Archive = <<Manifest/binary, ".archive">>,
    and_then(lay_out(Manifest, Archive, Context), fun(_) -> unpack(Archive, Dir, Context) end).

lay_out(Manifest, To, #{work := Work} = Context) ->
    job(#{op => lay_out, manifest => Manifest, pieces => Work, to => To}, Context).

job(Request, Context) ->
    bc_gitops_content_cache:job(Request, left(Context)).

unpack(Archive, Dir, #{on_progress := OnProgress} = Context) ->
    Left = left(Context),
    Request = #{archive => Archive, path => Dir, timeout => Left},
    Start = fun(Pid, Ref) -> bc_gitops_native:unpack_start(Request, Pid, Ref) end,
    Tell = fun(Progress) -> OnProgress(Progress#{step => unpack}) end,
    and_then(bc_gitops_job:run(Start, Left, Tell), fun(_) -> {ok, #{dir => top(Dir)}} end).

%% Archives of sources hold one directory that is named after the project and its version.
top(Dir) ->
    case file:list_dir_all(Dir) of
        {ok, [Only]} ->
            Inner = filename:join(Dir, Only),
            case lists:member(Only, ?OF_A_PROJECT) orelse not is_directory(Inner) of
                true -> Dir;
                false -> Inner
            end;
        _ ->
            Dir
    end.

is_directory(Path) ->
    case file:read_link_info(Path) of
        {ok, #file_info{type = Type}} -> Type =:= directory;
        {error, _} -> false
    end.

and_then(ok, Fun) -> Fun();
and_then({ok, Value}, Fun) -> Fun(Value);
and_then({error, _} = Error, _Fun) -> Error.

left(#{until := Until}) ->
    max(1, Until - erlang:monotonic_time(millisecond)).
