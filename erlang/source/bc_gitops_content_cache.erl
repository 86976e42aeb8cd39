%%% @doc Content that was verified, under its digest: `content/DIGEST' in the workspace. It is
%%% verified again each time it is taken. What was not asked for the longest goes first when it
%%% becomes much.
-module(bc_gitops_content_cache).

-export([take/2, admit/3, trim/1, trim/2, job/2, job/3]).

-export_type([wanted/0]).

-include_lib("kernel/include/file.hrl").

-type wanted() :: #{
    mcid := binary(), digest := binary(), limit := pos_integer(),
    place := binary(),                    % where it goes
    atom() => term()
}.
-type failure() :: {error, {Kind :: atom(), Details :: map()}}.

%% What stays, in bytes.
-define(KEPT, 2 * 1024 * 1024 * 1024).

%% @doc Puts what the cache has at its place.
-spec take(wanted(), bc_gitops_content:context()) ->
    {ok, Bytes :: non_neg_integer()} | not_found | failure().
take(Wanted, #{cache := Cache} = Context) ->
    #{digest := Digest, place := Place, mcid := Mcid} = Wanted,
    Cached = filename:join(Cache, Digest),
    case filelib:is_regular(Cached) andalso copy(Cached, Place, Wanted, Context) of
        false ->
            not_found;
        {ok, _} = Ok ->
            %% On a disk that cannot be written nothing is trimmed either.
            _ = file:change_time(Cached, calendar:local_time()),
            Ok;
        {error, {too_large, _}} ->
            %% the manifest that says so lies, or the store has the same
            not_found;
        {error, {Kind, _}} when Kind =:= content_mismatch; Kind =:= not_found ->
            logger:warning("bc_gitops: ~ts in the cache of content is damaged: fetched anew",
                           [Mcid]),
            _ = file:delete(Cached),
            not_found;
        {error, _} = Error ->
            Error
    end.

%% @doc Moves a file of the caller's own, or copies another's, to its place if it is what is wanted,
%% and keeps it.
-spec admit(Path :: binary(), wanted(), bc_gitops_content:context()) ->
    {ok, Bytes :: non_neg_integer()} | failure().
admit(Path, #{place := Place} = Wanted, #{work := Work} = Context) ->
    Admitted = case filename:dirname(Path) of
        Work -> move(Path, Place, Wanted, Context);
        _ -> copy(Path, Place, Wanted, Context)
    end,
    case Admitted of
        {ok, _} -> keep(Wanted, Context);
        {error, _} -> ok
    end,
    Admitted.

move(From, To, #{mcid := Mcid, limit := Limit}, Context) ->
    case bytes(job(#{op => verify, path => From, mcid => Mcid, limit => Limit}, left(Context))) of
        {ok, _} = Ok ->
            case file:rename(From, To) of
                ok -> Ok;
                {error, Reason} -> {error, bc_gitops_content_error:unwritable(To, Reason)}
            end;
        {error, _} = Error ->
            Error
    end.

copy(From, To, #{mcid := Mcid, limit := Limit}, Context) ->
    Request = #{op => admit, from => From, to => To, mcid => Mcid, limit => Limit},
    bytes(job(Request, left(Context))).

bytes({ok, #{bytes := Bytes}}) -> {ok, Bytes};
bytes({error, _} = Error) -> Error.

%% The same bytes under a second name, so that nothing is written twice; where a file system has no
%% such links, or the disk is full, there is nothing to take the next time.
keep(#{digest := Digest, place := Place}, #{cache := Cache}) ->
    _ = filelib:ensure_path(Cache),
    _ = file:make_link(Place, filename:join(Cache, Digest)),
    ok.

%% @doc Removes what was not asked for the longest, beyond what stays.
-spec trim(Cache :: binary()) -> ok.
trim(Cache) ->
    trim(Cache, ?KEPT).

%% @doc The same with another limit, in bytes.
-spec trim(Cache :: binary(), non_neg_integer()) -> ok.
trim(Cache, Kept) ->
    Names = case file:list_dir(Cache) of
        {ok, All} -> All;
        {error, _} -> []
    end,
    Files = [filename:join(Cache, Name) || Name <- Names],
    Newest = lists:reverse(lists:sort([{Info#file_info.mtime, Info#file_info.size, File}
        || File <- Files, {ok, Info} <- [file:read_file_info(File, [{time, posix}])]])),
    _ = lists:foldl(fun({_, Size, Path}, Sum) ->
        _ = Sum + Size > Kept andalso file:delete(Path),
        Sum + Size
    end, 0, Newest),
    ok.

%% @doc Runs a job of the native library over content.
-spec job(map(), Timeout :: pos_integer()) -> bc_gitops_job:answer().
job(Request, Timeout) ->
    job(Request, Timeout, fun(_) -> ok end).

%% @doc The same; OnProgress is told the bytes that were moved.
-spec job(map(), Timeout :: pos_integer(), bc_gitops_job:on_progress()) -> bc_gitops_job:answer().
job(Request, Timeout, OnProgress) ->
    Timed = Request#{timeout => Timeout},
    Start = fun(Pid, Ref) -> bc_gitops_native:mesh_start(Timed, Pid, Ref) end,
    bc_gitops_job:run(Start, Timeout, OnProgress).

left(#{until := Until}) ->
    max(1, Until - erlang:monotonic_time(millisecond)).
