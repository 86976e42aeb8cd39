%%% @doc Content by its content id: out of the cache, out of the mesh, out of the stores that the
%%% configuration names, in this order. Bytes are used when they have the digest of their id, and
%%% only then; what macula_content hands over passed its own check, and the answer says so. A store
%%% that has other bytes is named in the log, and the next one is asked.
-module(bc_gitops_content).

-export([fetch/2, pieces/3, publish/2, publish/3]).

-export_type([context/0, content/0]).

-type context() :: #{
    work := binary(),                     % a directory of the caller's own, where content is put
    cache := binary(),                    % what was verified before
    until := integer(),                   % monotonic time in milliseconds
    on_progress := fun((map()) -> any()),
    options := bc_gitops_source:options()
}.
-type content() :: #{
    kind := raw | manifest,
    path := binary(),                     % a file in `work'
    bytes := non_neg_integer(),
    store := binary(),
    from := bc_gitops_content_store:store() | cache,
    exact := boolean(),                   % the bytes are those of the id's digest
    verified := digest | macula_content
}.
-type failure() :: {error, {Kind :: atom(), Details :: map()}}.

%% The most bytes of an archive, as of any other download.
-define(MAX_BYTES, 2 * 1024 * 1024 * 1024).
%% Pieces that are fetched at once.
-define(AT_ONCE, 4).
%% A copy may take as long as its file is large; publishing has no other limit.
-define(FOREVER, 24 * 3600 * 1000).
%% Failures that no other store would mend.
-define(IS_OURS(Kind), (Kind =:= unwritable orelse Kind =:= disk_full orelse Kind =:= cancelled)).

%% @doc The content of an id: the bytes themselves, or a manifest. What macula_content hands over
%% for the id of a manifest may be the content, put together: it is not `exact' then.
-spec fetch(Mcid :: binary(), context()) -> {ok, content()} | failure().
fetch(Mcid, Context) ->
    case bc_gitops_native:mesh_mcid(Mcid) of
        {ok, Id} ->
            Macula = [macula || bc_gitops_content_macula:is_here()],
            get(Id#{limit => ?MAX_BYTES, trusted => Macula}, Macula ++ configured(), Context);
        {error, _} = Error ->
            Error
    end.

%% @doc Every piece of a manifest, each in `work' under its digest. The store that had the manifest
%% is asked first, and none is trusted.
-spec pieces([{Mcid :: binary(), Size :: pos_integer()}], bc_gitops_content_store:store() | cache,
             context()) -> ok | failure().
pieces(Pieces, From, #{on_progress := OnProgress} = Context) ->
    Total = lists:sum([Size || {_, Size} <- Pieces]),
    Silent = Context#{on_progress := fun(_) -> ok end},
    Stores = [From || From =/= cache] ++ lists:delete(From, configured()),
    Get = fun({Mcid, Size}) ->
        {ok, Id} = bc_gitops_native:mesh_mcid(Mcid),
        case get(Id#{limit => Size, trusted => []}, Stores, Silent) of
            {ok, _} -> {ok, Size};
            {error, _} = Error -> Error
        end
    end,
    Tell = fun(Received) ->
        OnProgress(#{step => download, received_bytes => Received, total_bytes => Total})
    end,
    bc_gitops_content_pool:run(Get, Pieces, ?AT_ONCE, Tell).

%% @doc Puts a file or a tree into the directory of a store; answers its content id.
-spec publish(From :: file:filename_all(), Store :: file:filename_all()) ->
    {ok, Mcid :: binary()} | failure().
publish(From, Store) ->
    publish(From, Store, #{}).

%% @doc The same; files of more than `chunk_size' bytes become several pieces.
-spec publish(file:filename_all(), file:filename_all(), #{chunk_size => pos_integer()}) ->
    {ok, Mcid :: binary()} | failure().
publish(From, Store, Options) ->
    Path = fun(Given) -> unicode:characters_to_binary(filename:absname(Given)) end,
    Chunk = maps:get(chunk_size, Options, undefined),
    Request = #{op => publish, from => Path(From), store => Path(Store), chunk => Chunk},
    Published = case filelib:ensure_path(Store) of
        ok -> bc_gitops_content_cache:job(Request, ?FOREVER);
        {error, Reason} -> {error, bc_gitops_content_error:unwritable(Path(Store), Reason)}
    end,
    case Published of
        {ok, #{mcid := Mcid}} -> {ok, Mcid};
        {error, _} = Error -> Error
    end.

configured() ->
    maps:get(content_stores, bc_gitops_config:current()).

get(#{digest := Digest} = Id, Stores, #{work := Work} = Context) ->
    Wanted = Id#{place => filename:join(Work, Digest)},
    case bc_gitops_content_cache:take(Wanted, Context) of
        {ok, Bytes} -> {ok, content(cache, Bytes, digest, Wanted)};
        not_found -> ask(Stores, Wanted, Context, []);
        {error, _} = Error -> Error
    end.

content(From, Bytes, Verified, #{place := Place, kind := Kind}) ->
    Name = case From of
        cache -> <<"cache">>;
        _ -> bc_gitops_content_store:name(From)
    end,
    #{kind => Kind, path => Place, bytes => Bytes, store => Name, from => From, exact => true,
      verified => Verified}.

ask([], #{mcid := Mcid}, _Context, Tried) ->
    {error, bc_gitops_content_error:nowhere(Mcid, lists:reverse(Tried))};
ask([nodes | Rest], #{mcid := Mcid} = Wanted, #{until := Until} = Context, Tried) ->
    case bc_gitops_content_node:holders(Mcid, Until) of
        [] -> ask(Rest, Wanted, Context, [{<<"the connected nodes">>, not_found} | Tried]);
        Holders -> ask(Holders ++ Rest, Wanted, Context, Tried)
    end;
ask([Store | Rest] = Stores, Wanted, Context, Tried) ->
    case ask_one(Store, Wanted, Context#{until := share(Context, length(Stores))}) of
        {ok, _} = Ok ->
            Ok;
        {error, {Kind, _}} = Error when ?IS_OURS(Kind) ->
            Error;
        Missed ->
            Name = bc_gitops_content_store:name(Store),
            report(Name, Missed, Wanted),
            ask(Rest, Wanted, Context, [{Name, Missed} | Tried])
    end.

%% One slow store does not use up the time of all.
share(#{until := Until}, Stores) ->
    Now = erlang:monotonic_time(millisecond),
    Now + max(0, Until - Now) div Stores.

report(Name, {error, {content_mismatch, #{message := Message}}}, #{mcid := Mcid}) ->
    logger:warning("bc_gitops: ~ts has other bytes as ~ts: ~ts", [Name, Mcid, Message]);
report(_Name, _Missed, _Wanted) ->
    ok.

ask_one(Store, #{mcid := Mcid, place := Place, limit := Limit} = Wanted, Context) ->
    #{on_progress := OnProgress} = Context,
    Part = <<Place/binary, ".part">>,
    Name = bc_gitops_content_store:name(Store),
    Asked = maps:merge(maps:with([until, options], Context), #{
        mcid => Mcid, limit => Limit, to => Part,
        on_progress => fun(Progress) -> OnProgress(Progress#{step => download, store => Name}) end
    }),
    _ = file:delete(Part),
    case bc_gitops_content_store:get(Store, Asked) of
        {ok, Path} -> check(Store, Path, Wanted, Context);
        Missed -> Missed
    end.

check(Store, Path, #{trusted := Trusted} = Wanted, Context) ->
    IsTrusted = lists:member(Store, Trusted),
    case bc_gitops_content_cache:admit(Path, Wanted, Context) of
        {ok, Bytes} when IsTrusted -> {ok, content(Store, Bytes, macula_content, Wanted)};
        {ok, Bytes} -> {ok, content(Store, Bytes, digest, Wanted)};
        {error, {content_mismatch, _}} when IsTrusted -> as_it_is(Store, Path, Wanted);
        {error, _} = Error -> Error
    end.

%% What a content id of macula covers is macula's to know: it says blake3 of other digests too, and
%% its manifests are of its own making.
as_it_is(Store, Path, #{place := Place} = Wanted) ->
    case file:rename(Path, Place) of
        ok ->
            Content = content(Store, filelib:file_size(Place), macula_content, Wanted),
            {ok, Content#{exact := false}};
        {error, Reason} ->
            {error, bc_gitops_content_error:unwritable(Place, Reason)}
    end.
